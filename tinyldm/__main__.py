"""The command line: ``python -m tinyldm demo | train | sample | list``."""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path as FilePath
from typing import Any

from .errors import choose, expect, whole_number
from .files import atomic_file
from .latent import LatentDiffusion
from .path import Path
from .runtime import SCALES

CLASSES = "classes.json"  # beside a model: what its labels are called


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tinyldm", description="Latent diffusion, small enough to read.")
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
    train = command("train", "train a model of digits or of your own pictures; a killed run goes on where it was")
    train.add_argument("--data", help="a folder of pictures, whose folders are their classes (default: the digits)")
    train.add_argument("--size", type=int, default=32, help="side of your own pictures in pixels (default 32)")
    train.add_argument("--out", default="model", help="folder of the run, for 'sample --model' (default: model)")
    draw = command("sample", "draw pictures with a trained model")
    draw.add_argument("--model", default="digits", help="a name from 'list', or the folder of a run or a model (default: digits)")
    draw.add_argument("--label", help="which class, as a number or a name (default: each in turn)")
    draw.add_argument("--text", help="what to show, in words, for a model that reads (default: anything)")
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

    from .data import load
    from .experiments.digits import digits_judge, measure
    from .experiments.pictures import train_pictures
    from .metrics import psnr

    start = time.perf_counter()
    out, data = FilePath(args.out), getattr(args, "data", None)
    if data is None:
        images = load("digits")
    else:
        images = load("folder", path=data, size=args.size, broken="skip", test_share=0)
        print(images)
    model = train_pictures(images, args.seed, folder=out / "checkpoints")
    report = {"training_seconds": time.perf_counter() - start}
    if data is None:
        report |= measure(model, digits_judge(), seed=args.seed)
    else:
        some = images.tensors["image"][:1000]
        report["psnr_train"] = psnr(some, model.space.decode(model.space.encode(some)).cpu()).mean().item()
    model.save(out / "model")
    (out / "model" / CLASSES).unlink(missing_ok=True)
    if images.classes:
        _write(out / "model" / CLASSES, images.classes)
    _write(out / "measures.json", report)
    for name, value in report.items():
        print(f"{name:>20}  {value:.4g}")
    if args.command == "demo":
        _picture(model, args.seed, out / "samples.png")
    print(f"saved {out / 'model'}; draw from it: python -m tinyldm sample --model {shlex.quote(str(out))}")


def _write(path: FilePath, value: Any) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _picture(model: LatentDiffusion, seed: int, out: FilePath, n: int = 100, cond: Any = None, **options: Any) -> None:
    import torch

    from .runtime import seeded
    from .viz import save_png

    n = whole_number("n", n, 1)
    classes = getattr(model.denoiser.net.config, "classes", 0)
    asked = torch.arange(n) % classes if cond is None and classes else cond
    images = model.sample(n, asked, generator=seeded(seed), **{"guidance": 1.5, **_grid(model.denoiser.path), **options})
    save_png(images, out)
    print(f"wrote {out}")


def _grid(path: Path) -> dict[str, str]:
    """The grid of times for a path: none that is uniform in lam where lam has no end, at zero terminal signal-to-noise ratio."""
    import torch

    ends = path.lam(torch.tensor([path.t_max, path.t_min], dtype=torch.float64))
    return {} if ends.isfinite().all() else {"kind": "t"}


def _sample(args: argparse.Namespace) -> None:
    from . import zoo
    from .runtime import device

    folder = FilePath(args.model)
    if (folder / "model" / "config.json").is_file():
        folder = folder / "model"
    model = LatentDiffusion.load(folder) if folder.is_dir() else zoo.load(args.model)
    whole = isinstance(model, LatentDiffusion)
    expect(whole, "model", args.model, "a latent diffusion model; this is a single network, which draws nothing by itself")
    options = {"steps": args.steps, "solver": args.solver, "guidance": args.guidance}
    expect(args.text is None or args.label is None, "text", f"{args.text!r} and label={args.label!r}", "only one of the two")
    cond = args.text if args.text is not None else _label(args.label, folder / CLASSES)
    _picture(model.to(device()), args.seed, FilePath(args.out), args.n, cond, **options)


def _label(given: str | None, file: FilePath) -> int | None:
    """The number of a class given as a number or, where the model's folder names them, by name."""
    if given is None or given.lstrip("-").isdecimal():
        return None if given is None else int(given)
    classes = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return choose("label", given, {name: number for number, name in enumerate(classes)})


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
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough, as in ``tinyldm list | head -1``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's own flush at the end is quiet
        return 1
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"tinyldm: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
