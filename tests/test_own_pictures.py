"""The page on the reader's own pictures: its code runs from top to bottom in an empty folder with pictures in it."""

import re
from dataclasses import replace
from pathlib import Path

import torch

import tinyldm as tl
from tinyldm.experiments import pictures

PAGE = Path(__file__).parents[1] / "book" / "own-pictures.md"


def test_the_page_runs_from_the_folder_to_diffusers_and_back(tmp_path, monkeypatch):
    for k in range(30):
        kind, hue = ("cats", "dogs")[k % 2], torch.rand(3, 1, 1, generator=tl.seeded(k)) * 2 - 1
        (tmp_path / "pictures" / kind).mkdir(parents=True, exist_ok=True)
        tl.viz.save_png(hue.expand(1, 3, 40, 48), tmp_path / "pictures" / kind / f"{k}.png", cols=1, gap=0)
    tiny = {f"{part}_budget": tl.train.Budget(3, 4, 1e-3) for part in ("autoencoder", "denoiser")}
    monkeypatch.setitem(pictures.RECIPES, "ci", replace(pictures.RECIPES["ci"], **tiny))
    monkeypatch.setenv("TINYLDM_SCALE", "ci")
    monkeypatch.setenv("TINYLDM_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 5
    scope = {}
    for block in blocks:
        exec(block, scope)
    assert scope["images"].classes == ["cats", "dogs"]
    assert (tmp_path / "new.png").stat().st_size > 1000
    assert scope["pictures"].shape == (4, 3, 32, 32)
    assert torch.equal(*(m.sample(2, 1, steps=3, generator=tl.seeded(0)) for m in (scope["bent"],) * 2))
    a, b = (dict(m.denoiser.net.named_parameters()) for m in (scope["model"], scope["back"]))
    assert all(torch.equal(a[name], b[name]) for name in a)
