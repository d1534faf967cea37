"""The denoiser's training loss: what a batch tells the network, and how often which part of it is hidden."""

import pytest
import torch

from tinyldm import VP, Condition, LatentSpace, seeded
from tinyldm.data import InMemory
from tinyldm.experiments import denoise_loss, latents, train_denoiser
from tinyldm.losses import stratified_times
from tinyldm.nn import UNetConfig
from tinyldm.train import Budget, fit


class Spy(torch.nn.Module):
    """Answers x and remembers what it was asked."""

    config = UNetConfig()

    def forward(self, x, t, cond):
        self.asked = x, t, cond
        return x


def batch(n, **columns):
    rng = seeded(1)
    slots = {
        "label": torch.arange(n) % 10,
        "vector": torch.randn(n, 2, generator=rng),
        "tokens": torch.randn(n, 3, 4, generator=rng),
        "tokens_mask": torch.tensor([[True, True, False]]).repeat(n, 1),
        "image": torch.randn(n, 1, 2, 2, generator=rng),
        "guidance": torch.rand(n, generator=rng),
    }
    return {"latent": torch.randn(n, 1, 2, 2, generator=rng), **slots, **columns}


NULL = {"tokens": torch.full((1, 2, 4), 9.0), "vector": torch.full((1, 2), 9.0)}


def asked(columns, seed=0, **options):
    """What the network is told about a batch."""
    spy = Spy()
    denoise_loss(VP(), "v", **options)(spy, columns, seeded(seed))
    return spy.asked


def hidden(cond, slot):
    """Which samples say nothing in a slot."""
    return cond.label == 10 if slot == "label" else (getattr(cond, slot).flatten(1)[:, 0] == 9)


@pytest.mark.parametrize("options", [{}, {"label_dropout": 0.5}, {"dropout": 0.5}, {"dropout": {"label": 0.5}}], ids=str)
def test_chance_is_drawn_for_times_noise_and_labels_in_this_order(options):
    """To the bit, as what was trained with labels would otherwise be trained anew."""
    columns, by_hand = {k: v for k, v in batch(64).items() if k in ("latent", "label")}, seeded(0)
    t = stratified_times(VP(), 64, by_hand)
    eps = torch.randn(64, 1, 2, 2, generator=by_hand)
    hide = torch.rand(64, generator=by_hand) < (0.5 if options else 0.1)
    x, clock, cond = asked(columns, **options)
    assert torch.equal(x, VP().network_input(VP().marginal(columns["latent"], eps, t), t))
    assert torch.equal(clock, VP().clock(t).float())
    assert cond.label.tolist() == torch.where(hide, 10, columns["label"]).tolist()


def test_a_batch_without_labels_draws_nothing_for_them():
    x, generator = batch(8)["latent"], seeded(0)
    denoise_loss(VP(), "v")(Spy(), {"latent": x}, generator)
    by_hand = seeded(0)
    stratified_times(VP(), 8, by_hand)
    torch.randn(x.shape, generator=by_hand)
    assert torch.equal(generator.get_state(), by_hand.get_state())


def test_every_column_named_like_a_slot_is_told():
    columns = batch(6, name=list("abcdef"))
    cond = asked(columns, label_dropout=0)[2]
    for slot in ("label", "vector", "tokens", "tokens_mask", "image", "guidance"):
        assert torch.equal(getattr(cond, slot), columns[slot]), slot
    assert cond.residuals is None
    without = asked({k: v for k, v in columns.items() if k in ("latent", "vector")})[2]
    assert len(without) == 6
    assert without.label is without.tokens is without.image is None


@pytest.mark.parametrize("options", [{"label_dropout": 0.3}, {"dropout": 0.3}], ids=str)
def test_one_share_hides_all_slots_at_once(options):
    n, columns = 4000, batch(4000)
    cond = asked(columns, null=Condition(**NULL), **options)[2]
    gone = hidden(cond, "label")
    assert abs(gone.float().mean() - 0.3) <= 4 * (0.3 * 0.7 / n) ** 0.5
    for slot in NULL:
        assert torch.equal(hidden(cond, slot), gone)
        assert torch.equal(getattr(cond, slot)[~gone], columns[slot][~gone])
    assert torch.equal(cond.tokens_mask[gone], torch.tensor([[True, True, False]]).expand(int(gone.sum()), 3))
    assert torch.equal(cond.image, columns["image"])  # null does not fill it


def test_shares_by_name_are_drawn_apart():
    n, shares = 4000, {"tokens": 0.5, "label": 0.2}
    cond = asked(batch(n), null=Condition(**NULL), dropout=shares)[2]
    assert not hidden(cond, "vector").any()  # not named
    gone = {slot: hidden(cond, slot) for slot in shares}
    for slot, share in [*shares.items(), ("both", 0.5 * 0.2)]:
        measured = (gone["tokens"] & gone["label"] if slot == "both" else gone[slot]).float().mean()
        assert abs(measured - share) <= 4 * (share * (1 - share) / n) ** 0.5, slot
    other = asked(batch(n), null=Condition(**NULL), dropout=dict(reversed(shares.items())))[2]
    assert torch.equal(hidden(other, "tokens"), gone["tokens"])  # the order in which they are named is of no matter


def test_a_hidden_text_has_the_mask_of_what_hides_it():
    null = Condition(tokens=torch.full((1, 2, 4), 9.0), tokens_mask=torch.tensor([[True, False]]))
    cond = asked(batch(4), null=null, dropout={"tokens": 1.0})[2]
    assert cond.tokens_mask.tolist() == [[True, False, False]] * 4


def test_a_null_may_say_which_label_says_nothing():
    cond = asked(batch(400), null=Condition([3]), dropout=1.0)[2]
    assert (cond.label == 3).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dropout": 1.5}, "dropout: expected a share from 0 to 1, got 1.5"),
        ({"label_dropout": -0.1}, "label_dropout: expected a share from 0 to 1"),
        ({"dropout": {"label": 2.0}}, "dropout: expected a share from 0 to 1"),
        ({"dropout": {"tokens": 0.1}}, "dropout: expected slots that something hides: label, got tokens"),
        ({"null": Condition(**NULL), "dropout": {"tokens_mask": 0.1}}, "something hides: label, vector, tokens, got tokens_mask"),
        ({"null": Condition(vector=torch.zeros(2, 2))}, "null: expected a condition of batch 1, got a batch of 2"),
        ({"null": Condition(residuals=(torch.zeros(1, 1, 1, 1),))}, "null.residuals: expected None"),
    ],
)
def test_what_cannot_be_hidden_is_refused_before_training(options, said):
    with pytest.raises(ValueError, match=said):
        denoise_loss(VP(), "v", **options)


def test_a_slot_that_the_data_does_not_have_is_refused():
    with pytest.raises(ValueError, match="null: expected no slot that is empty here, got vector"):
        asked({"latent": torch.zeros(2, 1, 2, 2)}, null=Condition(**NULL))


def test_latents_carry_what_tells_of_them(build, autoencoder_config, images):
    columns = {k: v for k, v in batch(5).items() if k not in ("latent", "image")}
    space = LatentSpace(build(autoencoder_config))
    known = latents(space, InMemory({"image": images, "caption": list("abcde"), **columns}, ["a", "b"]), seeded(0))
    assert list(known.tensors) == ["latent", *columns]
    assert all(known.tensors[name] is column for name, column in columns.items())
    assert torch.equal(known.tensors["latent"], space.encode(images, seeded(0)))
    assert known.classes == ["a", "b"]


class Linear(torch.nn.Module):
    """Looks at the text alone."""

    def __init__(self):
        super().__init__()
        self.of_text = torch.nn.Linear(2, 1)
        torch.nn.init.ones_(self.of_text.weight)

    def forward(self, x, t, cond):
        return self.of_text(cond.tokens.mean(1))[:, :, None, None].expand_as(x)


def test_a_network_learns_what_a_text_says_and_the_mean_where_it_is_hidden():
    """Latents that are 1 or 3, as the text has it; the best guess of one who is not told is 2."""
    said = torch.tensor([-1.0, 1.0]).repeat(32)
    tokens = torch.stack([said, torch.zeros(64)], dim=1)[:, None]
    data = InMemory({"latent": (said + 2)[:, None, None, None].expand(64, 1, 2, 2).clone(), "tokens": tokens})
    null = Condition(tokens=torch.tensor([[[0.0, 1.0]]]))
    net = Linear()
    fit(net, denoise_loss(VP(), "x0", null=null, dropout=0.5), data, Budget(200, 32, 5e-2), generator=seeded(0), progress=False)
    with torch.no_grad():
        for cond, expected in ((data[:2]["tokens"], [1.0, 3.0]), (null.tokens, [2.0])):
            answer = net(torch.zeros(len(cond), 1, 1, 1), torch.tensor(0.5), Condition(tokens=cond))
            assert answer.flatten().tolist() == pytest.approx(expected, abs=0.05)


def test_a_unet_is_trained_on_texts():
    config = UNetConfig(in_channels=1, channels=(8,), attention=(True,), heads=2, groups=4, classes=0, tokens=4)
    columns = {name: column for name, column in batch(8).items() if name in ("latent", "tokens", "tokens_mask")}
    _, history = train_denoiser(config, VP(), "v", InMemory(columns), Budget(2, 4, 1e-3), progress=False)
    assert history.isfinite().all()
