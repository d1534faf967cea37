"""Floor 1: a path at one time. What is looked up again is what would be worked out again, whatever has changed in between."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from oracles import GaussianData, scalar, times
from torch import nn

from tinyldm import VE, VP, CosineVP, DiscreteVP, Dynamics, Path, RectifiedFlow, SubVP, ddim, resolve, sample
from tinyldm.path import check_path

SD = partial(DiscreteVP.from_betas, "scaled_linear", 0.00085, 0.012)
ZERO = SD(zero_terminal_snr=True)
PATHS = {
    "VP": VP(),
    "SubVP": SubVP(),
    "VE": VE(),
    "CosineVP": CosineVP(),
    "RectifiedFlow": RectifiedFlow(),
    "linear": DiscreteVP.from_betas(),
    "SD": SD(),
    "zero terminal": ZERO,
}
NAMES = ("alpha", "sigma", "d_alpha", "d_sigma", "lam")
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
T = scalar(0.4)


class Fading(Path):
    """Variance preserving, alpha = exp(-k t): a path of one's own, no dataclass, that holds what it is given."""

    def __init__(self, k):
        self.k = k

    def rate(self):
        return self.k(torch.ones(1))[0] if isinstance(self.k, nn.Module) else self.k

    def alpha(self, t):
        return torch.exp(-self.rate() * t)

    def sigma(self, t):
        return torch.sqrt(-torch.expm1(-2 * self.rate() * t))


def assert_fades(path, k, t=T):
    """The path's moment is that of exp(-k t): alpha, sigma and their slopes in closed form."""
    moment = path.at(t)
    alpha = torch.exp(-k * t)
    sigma = torch.sqrt(1 - alpha**2)
    want = (alpha, sigma, -k * alpha, k * alpha**2 / sigma, torch.log(alpha / sigma))
    assert [getattr(moment, name) for name in NAMES] == pytest.approx([float(v) for v in want], rel=2e-5)


@pytest.mark.parametrize("name", PATHS)
def test_a_moment_is_the_path_at_its_time_however_often_it_is_asked(name):
    path, ts = PATHS[name], times(PATHS[name], 5)
    want = {what: getattr(path, what)(ts) for what in NAMES}
    for _ in range(3):
        for i, t in enumerate(ts):
            for what in NAMES:
                value = getattr(path.at(t), what)
                assert isinstance(value, float)
                assert value == pytest.approx(want[what][i].item(), rel=1e-13)
    for what in NAMES:
        torch.testing.assert_close(getattr(path.at(ts), what), want[what], rtol=0, atol=0)


def test_a_time_is_worked_out_once_and_then_looked_up():
    asked = []

    class Counted(VE):
        constant = True

        def sigma(self, t):
            asked.append(t)
            return super().sigma(t)

    path = Counted()
    for _ in range(3):
        assert path.at(T).sigma == pytest.approx(0.01 * 5000**0.4, rel=1e-12)
    assert len(asked) == 1
    assert path.at(scalar(0.5)).sigma == pytest.approx(0.01 * 5000**0.5, rel=1e-12)
    assert Counted(0.02, 60.0).at(T).sigma == pytest.approx(0.02 * 3000**0.4, rel=1e-12)
    assert len(asked) == 3
    path.at(torch.stack([T, T])).sigma, path.at(torch.stack([T, T])).sigma
    assert len(asked) == 5  # a time a sample is not kept


def test_a_time_that_gradients_flow_through_stays_a_tensor():
    t = T.clone().requires_grad_()
    (slope,) = torch.autograd.grad(VP().at(t).alpha, t)
    torch.testing.assert_close(slope, VP().d_alpha(T))


def test_paths_and_tables_do_not_share_each_other_s_moments(rng):
    """Kinds with the same numbers, one kind with others, tables alike and apart: each by itself is what it is among all."""
    ts = torch.tensor([0.9, 0.5, 0.25], dtype=torch.float64)
    kinds = [VP, SubVP, partial(VP, 0.2), partial(SubVP, 0.2), VE, partial(VE, 0.02, 60.0), CosineVP, partial(CosineVP, 0.1)]
    kinds += [RectifiedFlow, SD, DiscreteVP.from_betas, lambda: ZERO, SD]
    known = [make() for make in kinds]
    x, y = (torch.randn(2, 3, dtype=torch.float64, generator=rng) for _ in range(2))
    for _ in range(2):
        for path in known:
            for t in ts:
                a, b = path.alpha(t), path.sigma(t)
                assert (path.at(t).alpha, path.at(t).sigma) == pytest.approx((a.item(), b.item()), rel=1e-13)
                # x0 = (x - sigma eps) / alpha, and v's inverse
                torch.testing.assert_close(resolve("eps", path, x, t, y).x0, (x - b * y) / a, **CLOSE)
                torch.testing.assert_close(resolve("v", path, x, t, y).x0, (a * x - b * y) / (a**2 + b**2), **CLOSE)


# ---- never stale


def test_a_path_whose_number_changes_is_asked_anew(rng):
    def run(path):
        return sample(Dynamics(path, GaussianData().predict(path)), x, torch.linspace(0.9, 0.1, 5), ddim)

    x, mine = torch.randn(4, dtype=torch.float64, generator=rng), Fading(2.0)
    first = run(mine)
    for k in (5.0, 2.0, 3):
        mine.k = k
        assert_fades(mine, k)
    mine.k = 5.0
    assert not torch.equal(run(mine), first)
    assert torch.equal(run(mine), run(Fading(5.0)))
    assert Fading(1.0) != Fading(3.0)
    assert_fades(Fading(1.0), 1.0)
    assert_fades(Fading(3.0), 3.0)


def test_a_promise_is_not_inherited_and_can_be_withheld():
    """VE's numbers never change; what a subclass adds to them may, unless it promises so itself, by True."""

    class Scaled(VE):
        factor = 1.0

        def sigma(self, t):
            return self.factor * super().sigma(t)

    class Withheld(Scaled):
        constant = False

    for path in (Scaled(), Withheld()):
        for factor in (1.0, 3.0, 0.5):
            object.__setattr__(path, "factor", factor)
            assert path.at(T).sigma == pytest.approx(factor * 0.01 * 5000**0.4, rel=1e-12)
            check_path(path)
        object.__setattr__(path, "factor", -1.0)
        with pytest.raises(ValueError, match="sigma"):
            check_path(path)


@pytest.mark.parametrize("name", ["beta_min", "beta_max"])
def test_a_library_s_path_changed_behind_its_back_is_asked_anew(name):
    path = VP()
    for value in (0.1, 3.0, 0.1):
        path.at(T)
        object.__setattr__(path, name, value)
        integral = path.beta_min * T + (path.beta_max - path.beta_min) * T**2 / 2
        assert path.at(T).alpha == pytest.approx(torch.exp(-integral / 2).item(), rel=1e-12)


def test_a_tensor_changed_in_place_or_put_in_another_s_place_is_seen():
    path = Fading(torch.tensor(1.0))
    assert_fades(path, 1.0)
    path.k.add_(1.5)
    assert_fades(path, 2.5)
    with torch.no_grad():
        path.k.lerp_(torch.tensor(0.5), 0.5)
    assert_fades(path, 1.5)
    for i in range(50):  # freed and made anew, a tensor may lie where an earlier one lay
        path.k = torch.tensor(1 + i / 10)
        assert_fades(path, 1 + i / 10)


def test_a_tensor_made_in_inference_mode_keeps_no_count_of_its_changes():
    with torch.inference_mode():
        path = Fading(torch.tensor(1.0))
        assert_fades(path, 1.0)
        path.k.mul_(2)
        assert_fades(path, 2.0)


def rates():
    linear = nn.Linear(1, 1, bias=False)
    nn.init.constant_(linear.weight, 2.0)
    return {"parameter": nn.Parameter(torch.tensor(2.0)), "module": linear, "tensor": torch.tensor(2.0, requires_grad=True)}


@pytest.mark.parametrize("kind", rates())
def test_a_path_that_is_trained_is_asked_anew(kind):
    k = rates()[kind]
    path, weights = Fading(k), list(k.parameters()) if isinstance(k, nn.Module) else [k]
    assert_fades(path, 2.0)
    optimiser = torch.optim.SGD(weights, lr=1.0)
    path.rate().backward()  # a slope of 1: the step takes 1 away
    optimiser.step()
    assert_fades(path, 1.0)
    for p in weights:
        p.data.fill_(0.5)
    assert_fades(path, 0.5)
    ts = torch.tensor([0.2, 0.6])
    path.at(ts).alpha.sum().backward()
    got = sum(p.grad.sum() for p in weights) - 1
    torch.testing.assert_close(got, -(ts * torch.exp(-0.5 * ts)).sum())


# ---- threads and memory


def test_threads_see_what_one_alone_sees():
    paths = [Fading(1 + i / 7) for i in range(8)] + [VE(0.01, 5.0 + i) for i in range(8)]
    jobs = [(path, t) for t in times(VP(), 20) for path in paths]
    want = [(path.alpha(t).item(), path.sigma(t).item(), path.d_sigma(t).item()) for path, t in jobs]

    def work(job):
        moment = job[0].at(job[1])
        return moment.alpha, moment.sigma, moment.d_sigma

    with ThreadPoolExecutor(8) as pool:
        for found in (list(pool.map(work, jobs)) for _ in range(3)):
            torch.testing.assert_close(torch.tensor(found), torch.tensor(want), rtol=1e-6, atol=1e-6)


def test_rows_of_one_s_own_leave_nothing_behind():
    """A fresh function at every call, as in a notebook's cell run again: neither kept, nor taken for another."""
    path, x, y = VP(), scalar([0.3, -1.2]), scalar([0.7, 0.1])
    alpha, sigma = path.alpha(T), path.sigma(T)
    resolve("v", path, x, T, y)
    size, rows = len(path.at(T).known), []
    for i in range(20):
        row = lambda path, t, i=i: (torch.full_like(t, 1.0 + i), torch.full_like(t, -0.5))  # noqa: E731
        rows.append(weakref.ref(row))
        found = resolve(row, path, x, T, y)
        matrix = torch.tensor([[alpha, sigma], [1.0 + i, -0.5]], dtype=torch.float64)
        want = torch.linalg.solve(matrix, torch.stack([x, y]))
        torch.testing.assert_close(torch.stack([found.x0, found.eps]), want, **CLOSE)
    del row
    gc.collect()
    assert [ref() for ref in rows] == [None] * 20
    assert len(path.at(T).known) == size
