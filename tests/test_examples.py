"""The example in a docstring is a program that runs."""

import doctest

import pytest
import torch

import tinyldm as tl

SHOWN = {
    "LatentDiffusion.sample": tl.LatentDiffusion.sample,
    "LatentDiffusion.save": tl.LatentDiffusion.save,
    "LatentDiffusion.load": tl.LatentDiffusion.load,
    "Denoiser": tl.Denoiser,
    "Denoiser.dynamics": tl.Denoiser.dynamics,
    "Path": tl.Path,
    "Condition": tl.Condition,
    "DiscreteVP.from_betas": tl.DiscreteVP.from_betas,
    "GaussianMixture": tl.GaussianMixture,
    "grid": tl.grid,
    "sample": tl.sample,
    "resolve": tl.resolve,
    "target": tl.target,
    "Text": tl.Text,
    "Matcher": tl.text.Matcher,
}


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_runs_as_it_is_shown(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tl.zoo.load("digits")
    model.save("model")
    tokenizer = tl.nn.Tokenizer.learn(["a red circle", "a blue square"])
    names = {"tl": tl, "torch": torch, "model": model, "tokenizer": tokenizer}
    (test,) = doctest.DocTestFinder(recurse=False).find(SHOWN[name], name, globs=names)
    assert 1 <= len(test.examples) <= 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        report = []
        assert not doctest.DocTestRunner(verbose=False).run(test, out=report.append).failed, "".join(report)
