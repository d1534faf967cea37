"""Make a sweep again: ``python -m tinyldm.experiments.sweeps points`` or ``python -m tinyldm.experiments.sweeps digits``.

Every row is written as soon as it is measured; a run that was interrupted goes on with the rows that are missing.
"""

import json
import sys
import time
from importlib import import_module

from ...errors import choose
from ...files import atomic_file, read_json
from ..conditioning import MECHANISMS
from . import HERE, SWEEPS

SEEDS = (0, 1, 2)
FEWER = {"doors": (0,)}  # half an hour a seed
PLANS = {
    "points": [("ae", 0.0), *(("vae", w) for w in (0.0, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 0.3, 1.0, 10.0)), ("vq", 0.0)],
    "digits": [("ae", 0.0), *(("vae", w) for w in (0.0, 1e-6, 1e-4, 1e-2, 1e-1, 1.0, 10.0)), ("vq", 0.0)],
    "doors": [(door, 0.0) for door in MECHANISMS],
}
SAID = {
    "points": "2,000 points of six Gaussians; PointCoder 2 -> 2 -> 2, MLP; weights sum/sum",
    "digits": "1,437 digits at 16 x 16; AutoencoderKL to 4 x 4 x 4, U-Net; weights mean/mean",
    "doors": "scenes of 32 x 32 with latents 4 x 8 x 8, U-Net; 12,000 to learn from, batches of 32; 200 drawn at guidance 3",
}


def make(name: str) -> None:
    """Measure every row of a sweep that its file does not hold yet."""
    row_of, file = choose("name", name, SWEEPS), HERE / f"{name}.json"
    steps = import_module(f"{__package__}.{name}").STEPS
    rows = read_json(file)["rows"] if file.exists() else []
    done = {(row["kind"], row["weight"], row["seed"]) for row in rows}
    for seed in FEWER.get(name, SEEDS):
        for kind, weight in PLANS[name]:
            if (kind, weight, seed) in done:
                continue
            start = time.perf_counter()
            row = row_of(kind, weight, seed, steps)
            rows.append({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()})
            rows[-1]["seconds"] = round(time.perf_counter() - start, 1)
            note = {"summary": SAID[name], "command": f"python -m tinyldm.experiments.sweeps {name}", "updates": list(steps)}
            with atomic_file(file) as temporary:
                lines = ",\n".join(f"    {json.dumps(r)}" for r in rows)
                head = json.dumps(note, indent=2).removesuffix("\n}")
                temporary.write_text(f'{head},\n  "rows": [\n{lines}\n  ]\n}}\n', encoding="utf-8")
            print(f"{name} {kind} {weight:g} seed {seed}: {rows[-1]['seconds']} s", flush=True)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or SWEEPS:
        make(wanted)
