"""What is the reader's own: a path, a network, a solver step, diffusers' folders. Each script is as short as it can be."""

import json

import pytest
import torch

import tinyldm as tl


def test_an_own_path_and_an_own_step_travel_with_a_model(tmp_path):
    class Bent(tl.Path):
        t_max = 0.99

        def __init__(self, bend):
            self.bend = bend

        def alpha(self, t):
            return torch.cos(torch.pi / 2 * t**self.bend)

        def sigma(self, t):
            return torch.sin(torch.pi / 2 * t**self.bend)

    def midpoint(dynamics, x, t, s, memory):
        half = (t + s) / 2
        x_half = x + (half - t) * dynamics.velocity(x, t)
        return x + (s - t) * dynamics.velocity(x_half, half), memory

    zoo = tl.zoo.load("digits")
    model = tl.LatentDiffusion(zoo.space, tl.Denoiser(zoo.denoiser.net, Bent(1.25), "v"), zoo.latent)
    model.save(tmp_path / "m")
    back = tl.LatentDiffusion.load(tmp_path / "m", path=Bent(1.25))

    a, b = (m.sample(2, [3, 1], steps=4, solver=midpoint, generator=tl.seeded(0)) for m in (model, back))
    assert torch.equal(a, b)
    with pytest.raises(ValueError, match=r"path: expected path=Bent\(bend=1.25\), an object of your own class.*got None"):
        tl.LatentDiffusion.load(tmp_path / "m")
    with pytest.raises(ValueError, match=r"path: expected path=Bent\(bend=1.25\), got bend=1.5"):
        tl.LatentDiffusion.load(tmp_path / "m", path=Bent(1.5))
    with pytest.raises(ValueError, match=r"path: expected path=Bent\(bend=1.25\), got name=VP"):
        tl.LatentDiffusion.load(tmp_path / "m", path=tl.VP())


def test_an_own_network_and_an_own_autoencoder_travel_with_a_model(tmp_path):
    class Net(torch.nn.Module):
        def __init__(self, width=8):
            super().__init__()
            self.first, self.last = torch.nn.Conv2d(2, width, 3, 1, 1), torch.nn.Conv2d(width, 2, 3, 1, 1)
            self.label = torch.nn.Embedding(3, width)
            self.tied = self.first

        def forward(self, x, t, cond):
            h = self.first(x) if cond.label is None else self.first(x) + self.label(cond.label)[:, :, None, None]
            return self.last(torch.tanh(h))

    class Halves(torch.nn.Module):
        """Nothing to learn."""

        def encode(self, x):
            return tl.DiagonalGaussian(x / 2, torch.full_like(x, -30.0))

        def decode(self, z):
            return 2 * z

    torch.manual_seed(0)
    model = tl.LatentDiffusion(tl.LatentSpace(Halves()), tl.Denoiser(Net(), tl.VP(), "v"), (2, 4, 4))
    model.save(tmp_path / "m")
    back = tl.LatentDiffusion.load(tmp_path / "m", net=Net(), autoencoder=Halves())
    a, b = (m.sample(2, 1, steps=3, generator=tl.seeded(0)) for m in (model, back))
    assert torch.equal(a, b)
    for given, said in (
        ({}, "autoencoder: expected autoencoder=Halves.*got None"),
        ({"autoencoder": Halves()}, r"net: expected net=Net\(\), an object of your own class.*got None"),
        ({"autoencoder": Halves(), "net": Halves()}, r"net: expected net=Net\(\), got own=Halves"),
        ({"autoencoder": Halves(), "net": Net(9)}, r"state: .*first.weight: \(8, 2, 3, 3\), expected \(9, 2, 3, 3\)"),
        ({"autoencoder": Halves(), "net": Net(), "path": tl.VP()}, "path: expected None: .* the library's own VP"),
    ):
        with pytest.raises(ValueError, match=said):
            tl.LatentDiffusion.load(tmp_path / "m", **given)


def test_a_trained_model_goes_to_diffusers_and_comes_back(tmp_path, monkeypatch):
    diffusers = pytest.importorskip("diffusers")
    monkeypatch.chdir(tmp_path)
    labels, noise = torch.tensor([3, 1, 4, 1]), torch.randn(4, 4, 8, 8, generator=tl.seeded(0))

    model, save = tl.zoo.load("digits"), tl.nn.weights.save_pretrained
    save(model.denoiser.net, "out/unet")
    save(model.space.autoencoder, "out/vae", scaling_factor=model.space.scale, shift_factor=model.space.shift)
    unet, vae = diffusers.UNet2DModel.from_pretrained("out/unet"), diffusers.AutoencoderKL.from_pretrained("out/vae")
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(20)
    z = noise
    with torch.no_grad():
        for t in scheduler.timesteps:
            z = scheduler.step(unet(z, t, class_labels=labels).sample, t, z).prev_sample
        theirs = vae.decode(z / vae.config.scaling_factor + vae.config.shift_factor).sample.clamp(-1, 1)

    space, net = tl.LatentSpace.from_pretrained("out/vae"), tl.nn.weights.from_pretrained("out/unet")
    back = tl.LatentDiffusion(space, tl.Denoiser(net, tl.DiscreteVP.from_betas("linear", 1e-4, 0.02), "v"), (4, 8, 8))
    ours = back.sample(4, [3, 1, 4, 1], solver="ddim", generator=tl.seeded(0))
    back.save("ours")

    assert ours.shape == theirs.shape == (4, 1, 32, 32)
    denoiser = back.denoiser
    ts = tl.timesteps(denoiser.path, 20, "trailing")
    same = back.space.decode(tl.sample(denoiser.dynamics(tl.Condition(labels)), noise, ts, tl.ddim))
    torch.testing.assert_close(same, theirs, rtol=0, atol=1e-4)
    again = tl.LatentDiffusion.load("ours").sample(4, [3, 1, 4, 1], solver="ddim", generator=tl.seeded(0))
    assert torch.equal(again, ours)


@pytest.mark.parametrize(
    ("facts", "scale", "shift"), [({}, 0.18215, 0.0), ({"scaling_factor": 0.3, "shift_factor": None}, 0.3, 0.0)]
)
def test_what_a_folder_does_not_say_of_its_space_is_what_diffusers_takes_it_to_be(facts, scale, shift, model, tmp_path):
    tl.nn.weights.save_pretrained(model.space.autoencoder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | facts))
    space = tl.LatentSpace.from_pretrained(tmp_path)
    assert (space.scale, space.shift) == (scale, shift)
