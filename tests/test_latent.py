"""Floor 5: the latent space's affine map, sampling against a known distribution, and the folder on disk."""

import json
import re
from contextlib import suppress
from functools import partial

import pytest
import torch
from oracles import GaussianData
from torch import nn

from tinyldm import VP, Condition, Denoiser, DiagonalGaussian, LatentDiffusion, LatentSpace, RectifiedFlow, ddim, seeded
from tinyldm import latent as latent_module
from tinyldm import space as space_module
from tinyldm.solvers import STEPS


class Plain(nn.Module):
    """An autoencoder that does nothing, with a posterior of known width: what is left is the latent space's own arithmetic."""

    def __init__(self, std=0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.std = std

    def encode(self, x):
        return DiagonalGaussian(x, torch.full_like(x, self.std).log() * 2)

    def decode(self, z):
        return z


def test_latents_are_shifted_first_and_scaled_second(images):
    space = LatentSpace(Plain(), scale=1.7, shift=0.3)
    z = space.encode(images)
    torch.testing.assert_close(z, (images - 0.3) * 1.7)
    torch.testing.assert_close(space.decode(z), images)


def test_decoding_undoes_encoding_up_to_the_autoencoder(build, autoencoder_config, images):
    autoencoder = build(autoencoder_config)
    direct = autoencoder.decode(autoencoder.encode(images).mean).clamp(-1, 1)
    space = LatentSpace(autoencoder, scale=0.18215, shift=-0.7)
    torch.testing.assert_close(space.decode(space.encode(images)), direct, rtol=1e-4, atol=1e-5)


def test_images_are_clamped_to_their_range():
    assert LatentSpace(Plain()).decode(torch.tensor([[[[-3.0, 0.5, 2.0]]]])).flatten().tolist() == [-1.0, 0.5, 1.0]


@pytest.mark.equation("latent-scale")
def test_measured_scale_and_shift_give_mean_0_and_variance_1(build, autoencoder_config, images):
    autoencoder = build(autoencoder_config)
    space = LatentSpace.measured(autoencoder, images)
    z = space.encode(images).double()
    assert z.mean().item() == pytest.approx(0, abs=1e-5)
    assert (z**2).mean().item() == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        raw = autoencoder.encode(images).mean.double().numpy()
    assert space.scale == pytest.approx(1 / raw.std(), rel=1e-5)
    assert space.shift == pytest.approx(raw.mean(), rel=1e-4)


def test_a_generator_asks_for_samples_of_the_posterior():
    space, x = LatentSpace(Plain(std=0.5), scale=2.0), torch.zeros(1, 1, 200, 200)
    z = space.encode(x, seeded(0))
    assert z.std().item() == pytest.approx(1.0, rel=0.02)  # 2 * 0.5; standard error 0.4%
    assert torch.equal(z, space.encode(x, seeded(0)))
    assert not torch.equal(z, space.encode(x, seeded(1)))
    assert not space.encode(x).any()  # without one: the mean


def test_many_images_go_through_in_pieces(build, autoencoder_config, images, monkeypatch):
    space = LatentSpace(build(autoencoder_config))
    whole = space.encode(images)
    monkeypatch.setattr(space_module, "CHUNK", 2)
    torch.testing.assert_close(space.encode(images), whole, rtol=1e-4, atol=1e-5)
    assert space.decode(whole).shape == images.shape
    assert not space.encode(images).requires_grad


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (lambda x: x * 127.5, r"x: expected values in \[-1"),  # forgot to divide
        (lambda x: x.where(x < 0.9, torch.nan), r"x: expected values in"),
        (lambda x: x.repeat(1, 3, 1, 1), "x: expected 1 channels, got 3 channels"),
        (lambda x: x[:, :, :7], "x: expected height and width divisible by 2, got 7x8"),
        (lambda x: x[0], "x: expected four dimensions"),
    ],
)
def test_images_that_cannot_be_encoded_are_refused(bad, said, model, images):
    with pytest.raises(ValueError, match=said):
        model.space.encode(bad(images))


class Exact(nn.Module):
    """The best possible network, v-prediction, for latents N(mean, std^2) in every entry: it must see the right clock."""

    def __init__(self, data, path):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.data, self.path = data, path

    def forward(self, x, clock, cond):
        t = (clock / 1000).reshape(-1, 1, 1, 1)
        p = self.data.predict(self.path)(x, t)
        return self.path.alpha(t) * p.eps - self.path.sigma(t) * p.x0


@pytest.mark.parametrize("solver", STEPS)
@pytest.mark.parametrize("path", [VP(), RectifiedFlow()], ids=["VP", "RectifiedFlow"])
def test_samples_have_the_distribution_that_the_network_knows(path, solver):
    data = GaussianData(mean=0.3, std=0.2)
    model = LatentDiffusion(LatentSpace(Plain(), scale=2.0, shift=0.1), Denoiser(Exact(data, path), path, "v"), (1, 2, 2))
    z = model.sample_latents(500, steps=100, solver=solver, generator=seeded(0))
    assert z.shape == (500, 1, 2, 2)
    assert z.mean().item() == pytest.approx(0.3, abs=0.02)  # standard error 0.2 / sqrt(2000) = 0.0045
    assert z.std().item() == pytest.approx(0.2, rel=0.08)  # standard error 1.6%, and a bias of ddpm's 100 steps
    images = model.sample(500, steps=100, solver=solver, generator=seeded(0))
    torch.testing.assert_close(images, z / 2 + 0.1)


def test_sampling_starts_from_noise_as_strong_as_the_path_s_last():
    path, seen = VP(0.1, 2.0), []  # at t = 1 its noise is far from 1: sigma^2 = 1 - exp(-1.05)
    model = LatentDiffusion(LatentSpace(Plain()), Denoiser(Exact(GaussianData(), path), path, "v"), (1, 50, 50))

    def look(dynamics, x, t, s, memory):
        seen.append((float(t), x))
        return x, memory

    model.sample_latents(4, steps=2, solver=look, generator=seeded(0))
    assert seen[0][0] == 1.0
    assert seen[0][1].std().item() == pytest.approx(0.806, rel=0.03)  # standard error 0.7%
    assert seen[0][1].mean().item() == pytest.approx(0, abs=0.04)


def solvers_for(seed):
    """Every solver by name, and stochastic ones with their own generator."""
    return {**dict.fromkeys(STEPS), "ddim(eta=1)": partial(ddim, eta=1.0, generator=seeded(seed + 1))}


@pytest.mark.parametrize("name", solvers_for(0))
def test_samples_depend_on_the_generator_and_on_nothing_else(name, model):
    def draw(seed):
        return model.sample(
            3, Condition(torch.tensor([0, 1, 2])), steps=4, solver=solvers_for(seed)[name] or name, generator=seeded(seed)
        )

    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = draw(5)
    assert torch.equal(torch.get_rng_state(), before)  # nothing was drawn from the global generator
    torch.manual_seed(2)
    assert torch.equal(draw(5), a)
    assert not torch.equal(draw(6), a)
    assert a.shape == (3, 1, 8, 8)
    assert a.abs().max() <= 1


def test_guidance_runs_from_unconditional_through_conditional(model):
    cond = Condition(torch.tensor([0, 1]))
    free, plain, none, strong = (
        model.sample_latents(2, c, steps=3, guidance=g, generator=seeded(0))
        for c, g in ((None, 1.0), (cond, 1.0), (cond, 0.0), (cond, 4.0))
    )
    assert torch.equal(none, free)
    assert not torch.equal(plain, free)
    assert not torch.equal(strong, plain)


def test_conditions_of_one_sample_serve_all_pictures(model):
    def draw(cond, other):
        return model.sample_latents(3, cond, unconditional=other, steps=2, guidance=2.0, generator=seeded(0))

    for cond, other in ((Condition([1]), Condition([2])), ([1], [2]), (Condition([1]), [2, 2, 2]), (1, Condition([2]))):
        assert torch.equal(draw(cond, other), draw([1, 1, 1], [2, 2, 2]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 0}, "n: expected a whole number >= 1"),
        ({"steps": 0}, "steps: expected a whole number >= 1"),
        ({"cond": Condition(torch.tensor([0, 3]))}, r"cond.label: expected values in \[0, 2\]"),
        ({"cond": Condition(torch.tensor([-1, 0]))}, r"cond.label: expected values in \[0, 2\]"),
        ({"cond": Condition([0, 1, 2])}, "cond: expected one of 2, or of 1 for all, got a batch of 3"),
        ({"unconditional": Condition(vector=torch.ones(3, 1))}, "unconditional: expected one of 2, or of 1 for all"),
        ({"solver": "dpmpp2m"}, "solver='dpmpp2m' is unknown; did you mean 'dpmpp_2m'"),
        ({"kind": "lambda"}, "kind='lambda' is unknown; did you mean 'lam'"),
        ({"guidance": -1.0}, "scale: expected a number >= 0"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(options, said, model):
    with pytest.raises(ValueError, match=said):
        model.sample(**{"n": 2, "steps": 2} | options)


def test_a_folder_brings_back_the_same_model_bit_for_bit(model, tmp_path):
    model.save(tmp_path / "a" / "model")
    back = LatentDiffusion.load(tmp_path / "a" / "model")
    for part, module in model.modules().items():
        assert not back.modules()[part].training
        for name, tensor in module.state_dict().items():
            assert torch.equal(back.modules()[part].state_dict()[name], tensor), name
    assert (back.latent, back.space.scale, back.space.shift) == (model.latent, 1.7, 0.3)
    assert (back.denoiser.path, back.denoiser.parametrisation) == (VP(), "v")
    assert torch.equal(*(m.sample(2, steps=3, generator=seeded(0)) for m in (model, back)))
    assert sorted(p.name for p in (tmp_path / "a" / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_half_precision_halves_the_file_and_loads_as_float32(model, tmp_path):
    model.save(tmp_path / "full")
    model.save(tmp_path / "half", torch.float16)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.75 * sizes[0]
    back = LatentDiffusion.load(tmp_path / "half")
    for part, module in model.modules().items():
        for name, tensor in back.modules()[part].state_dict().items():
            assert torch.equal(tensor, module.state_dict()[name].half().float())


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["denoiser"].update(channels=[8, 16]), "state: .* tensors do not fit this configuration"),
        (lambda c: c["autoencoder"].update(blocks=2), "state: .*absent"),
        (lambda c: c["denoiser"].update(classes=0), "state: .*no such tensor"),
        (lambda c: c["denoiser"].update(head=2), "config field='head' is unknown; did you mean 'heads'"),
        (lambda c: c["path"].update(name="RectifedFlow"), "path.name='RectifedFlow' is unknown; did you mean 'RectifiedFlow'"),
        (lambda c: c["path"].update(beta=3.0), "beta"),
        (lambda c: c["path"].pop("name"), "path.name=None is unknown"),
        (lambda c: c.update(parametrisation="epsilon"), "parametrisation='epsilon' is unknown; did you mean 'eps'"),
        (lambda c: c.pop("scale"), r"config.json: expected all the fields that save\(\) writes, got no \['scale'\]"),
    ],
)
def test_a_configuration_that_is_not_the_weights_own_is_refused(change, said, model, tmp_path):
    model.save(tmp_path / "m")
    edit(tmp_path / "m", change)
    with pytest.raises(ValueError, match=said):
        LatentDiffusion.load(tmp_path / "m")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damaged_and_missing_files_are_named(name, model, tmp_path):
    model.save(tmp_path / "m")
    path = tmp_path / "m" / name
    content = path.read_bytes()
    for size in (0, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            LatentDiffusion.load(tmp_path / "m")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        LatentDiffusion.load(tmp_path / "m")


def test_a_failing_save_leaves_the_old_model(model, tmp_path, monkeypatch):
    model.save(tmp_path / "m")
    before = {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()}
    monkeypatch.setattr(latent_module.json, "dumps", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        model.save(tmp_path / "m")
    assert {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_saving_does_not_remove_what_it_did_not_write(model, tmp_path):
    """A reader may well save into a folder that holds other things."""
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "card.json").write_text("{}")
    with suppress(ValueError):  # refusing is as good as keeping
        model.save(folder)
    assert (folder / "card.json").is_file()
