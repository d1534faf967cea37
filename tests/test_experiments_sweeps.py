"""The sweeps that come with the library: complete, plausible, and made by the code that claims to have made them."""

import math

import pytest
import torch

import tinyldm as tl
from tinyldm.experiments.sweeps import SWEEPS, card, column, digits_row, on_data, points_row, table
from tinyldm.experiments.sweeps.__main__ import FEWER, PLANS, SEEDS


@pytest.mark.parametrize("name", SWEEPS)
def test_every_row_of_the_plan_is_there_once(name):
    rows = [(r["kind"], r["weight"], r["seed"]) for r in table(name)]
    assert sorted(rows) == sorted((*plan, seed) for plan in PLANS[name] for seed in FEWER.get(name, SEEDS))
    assert card(name)["command"] == f"python -m tinyldm.experiments.sweeps {name}"
    assert all(math.isfinite(v) for r in table(name) for k, v in r.items() if k != "kind")


@pytest.mark.parametrize(("name", "examples"), [("points", 2000), ("digits", 1437)])
def test_the_two_parts_add_up_to_the_penalty_and_the_information_has_a_ceiling(name, examples):
    """The sum was estimated by one sample of every posterior, the penalty is in closed form."""
    for row in table(name):
        if row["kind"] == "vae":
            assert row["information"] + row["marginal"] == pytest.approx(row["kl"], rel=0.02, abs=0.1)
            assert row["information"] <= math.log(examples) + 1e-4


def test_shares_are_shares():
    for row in [*table("points"), *table("digits")]:
        for key, value in row.items():
            if key.endswith(("precision", "recall")) or key in ("encoded", "prior", "gaussian", "diffusion", "accuracy"):
                assert 0 <= value <= 1, key


def test_a_column_is_a_list_of_seeds_for_each_weight():
    rows = [{"kind": "vae", "weight": w, "seed": s, "x": 10 * w + s} for w in (2.0, 1.0) for s in (0, 1)]
    rows.append({"kind": "ae", "weight": 1.0, "seed": 0, "x": 99})
    assert column(rows, "vae", "x") == [[10, 11], [20, 21]]
    assert column(rows, "vae", "x", [2.0]) == [[20, 21]]


def test_points_on_the_data_are_counted_as_chi_square_says():
    """|x - mean|^2 / variance of a plane Gaussian is chi-square with two degrees: 1 - exp(-9/2) within three deviations."""
    points = tl.data.six_gaussians().sample(40_000, tl.seeded(5))
    assert on_data(points) == pytest.approx(1 - math.exp(-4.5), abs=0.002)
    assert on_data(torch.zeros(5, 2)) == 0


@pytest.mark.parametrize("kind", ["ae", "vae", "vq"])
def test_a_row_of_points_has_the_keys_of_the_table_and_comes_out_the_same_twice(kind):
    row, again = (points_row(kind, 0.01, 1, (40, 30)) for _ in range(2))
    assert row == again
    known = next(r for r in table("points") if r["kind"] == kind)
    assert {*row} == {*known} - {"seconds"}
    if kind == "vae":
        assert row["information"] + row["marginal"] == pytest.approx(row["kl"], abs=0.1)


def test_a_row_of_digits_has_the_keys_of_the_table(monkeypatch):
    monkeypatch.setattr("tinyldm.experiments.sweeps.digits.DRAWS", 30)
    monkeypatch.setattr("tinyldm.experiments.sweeps.digits.sources.__defaults__", (True, 30))
    row = digits_row("vae", 0.01, 1, (4, 4))
    assert {*row} == {*next(r for r in table("digits") if r["kind"] == "vae")} - {"seconds"}


@pytest.mark.parametrize("ask", [table, card])
def test_another_name_is_refused(ask):
    with pytest.raises(ValueError, match="name='digit' is unknown; did you mean 'digits'"):
        ask("digit")


@pytest.mark.parametrize("row", [points_row, digits_row])
def test_another_kind_is_refused(row):
    with pytest.raises(ValueError, match="kind"):
        row("gan", 0.0, 0, (1, 1))
