"""The command line: ``python -m tinyldm demo | train | sample | list``."""

import argparse
import json
import os
import sys
from pathlib import Path as FilePath
from typing import Any

from .errors import expect
from .latent import LatentDiffusion
from .runtime import SCALES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tinyldm", description="Latent diffusion, small enough to read.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        if name in ("demo", "train"):
            sub.add_argument(
                "--scale", choices=SCALES, help="training budget (default: TINYLDM_SCALE, else gpu with CUDA, else cpu)"
            )
        if name in ("demo", "train", "sample"):
            sub.add_argument("--seed", type=int, default=0, help="seed of everything random (default 0)")
            sub.add_argument("--device", help="cpu, cuda, mps ... (default: TINYLDM_DEVICE, else the best there is)")
        return sub

    demo = command("demo", "train the digits model from nothing, write a picture and its measures")
    demo.add_argument("--out", default="demo", help="folder for model, picture and measures (default: demo)")
    train = command("train", "train the digits model and save it; a killed run goes on where it was")
    train.add_argument("--out", default="model", help="folder of the model (default: model)")
    draw = command("sample", "draw digits with a trained model")
    draw.add_argument("--model", default="digits", help="a name from 'list' or a folder (default: digits)")
    draw.add_argument("--label", type=int, help="which digit (default: each in turn)")
    draw.add_argument("--n", type=int, default=20, help="how many (default 20)")
    draw.add_argument("--steps", type=int, default=25, help="solver steps (default 25)")
    draw.add_argument("--solver", default="dpmpp_2m", help="euler, heun, ddim, ddpm or dpmpp_2m (the default)")
    draw.add_argument(
        "--guidance", type=float, default=1.5, help="0 unconditional, 1 conditional, above 1 exaggerated (default 1.5)"
    )
    draw.add_argument("--out", default="samples.png", help="picture file (default: samples.png)")
    command("list", "the trained models that come with the package, and how good they are")
    return parser


def _train(args: argparse.Namespace) -> None:
    import time

    from .experiments.digits import digits_judge, digits_recipe, measure, train_digits

    start = time.perf_counter()
    checkpoints = FilePath(args.out) / "checkpoints"
    model = train_digits(digits_recipe(), args.seed, folder=str(checkpoints))
    seconds = time.perf_counter() - start
    model.save(FilePath(args.out) / "model")
    report = {"training_seconds": seconds, **measure(model, digits_judge(), seed=args.seed)}
    (FilePath(args.out) / "measures.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, value in report.items():
        print(f"{name:>20}  {value:.4g}")
    if args.command == "demo":
        _picture(model, args.seed, FilePath(args.out) / "samples.png")


def _picture(model: LatentDiffusion, seed: int, out: FilePath, n: int = 100, **options: Any) -> None:
    import torch

    from .files import atomic_file
    from .nn import Condition
    from .runtime import seeded
    from .viz import contact_sheet
    from .viz.widgets import png

    expect(n >= 1, "n", n, "a whole number >= 1")
    label = options.pop("label", None)
    labels = torch.arange(n) % 10 if label is None else torch.full((n,), label)
    images = model.sample(n, Condition(labels), generator=seeded(seed), **{"guidance": 1.5, **options})
    with atomic_file(out) as temporary:
        temporary.write_bytes(png(contact_sheet(images, cols=10)))
    print(f"wrote {out}")


def _sample(args: argparse.Namespace) -> None:
    from . import zoo
    from .runtime import device

    model = LatentDiffusion.load(args.model) if FilePath(args.model).is_dir() else zoo.load(args.model)
    whole = isinstance(model, LatentDiffusion)
    expect(
        whole, "model", args.model, "a latent diffusion model; this is a single network, which draws nothing by itself"
    )
    options = {"steps": args.steps, "solver": args.solver, "guidance": args.guidance, "label": args.label}
    _picture(model.to(device()), args.seed, FilePath(args.out), args.n, **options)


def _list(_args: argparse.Namespace) -> None:
    from . import zoo

    for name in zoo.names():
        card = zoo.card(name)
        print(f"{name}: {card['summary']}")
        for key, value in card["measures"].items():
            print(f"{key:>20}  {value:.4g}")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a mistake in an argument is one line on stderr and exit code 2."""
    args = _parser().parse_args(arguments)
    for name in ("scale", "device"):
        if getattr(args, name, None):
            os.environ[f"TINYLDM_{name.upper()}"] = getattr(args, name)
    try:
        {"demo": _train, "train": _train, "sample": _sample, "list": _list}[args.command](args)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"tinyldm: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
