import numpy as np
import pytest

from sar_codec.evaluation.bd_rate import Curve, bd_rate, interval, pchip, saving_at

RATES = np.array([0.05, 0.11, 0.3, 0.8, 1.7, 3.0])
QUALITIES = np.array([20.0, 22.5, 26.0, 31.0, 36.5, 43.0])


def curve(rates: np.ndarray, qualities: np.ndarray) -> Curve:
    return Curve.of(list(zip(rates.tolist(), qualities.tolist(), strict=True)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("points", [2, 3, 4, 9])
def test_interpolation_is_that_of_scipy(seed: int, points: int) -> None:
    scipy = pytest.importorskip("scipy.interpolate", reason="scipy is not installed")
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.1, 2, points).cumsum()
    y = rng.normal(size=points)  # turns, too
    at = np.linspace(x[0], x[-1], 50)
    np.testing.assert_allclose(pchip(x, y, at), scipy.PchipInterpolator(x, y)(at), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_those_of_the_package_bjontegaard(seed: int) -> None:
    package = pytest.importorskip("bjontegaard", reason="bjontegaard is not installed")
    rng = np.random.default_rng(seed)
    mine, other = (
        (rng.uniform(0.2, 1, 6).cumsum(), 20 + rng.uniform(1, 4, 6).cumsum()) for _ in range(2)
    )
    options = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
    expected = package.bd_rate(*other, *mine, **options)
    assert bd_rate(curve(*other), curve(*mine)) == pytest.approx(expected / 100, abs=1e-9)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.5])
def test_a_constant_ratio_of_rates_is_found(factor: float) -> None:
    anchor, test = curve(RATES, QUALITIES), curve(factor * RATES, QUALITIES)
    assert bd_rate(anchor, test) == pytest.approx(factor - 1)
    assert saving_at(anchor, test, 0.5) == pytest.approx(factor - 1)


def test_only_qualities_that_both_reach_count() -> None:
    anchor = curve(RATES, QUALITIES)
    # Half of the rate where both are, absurd beyond.
    beyond = curve(np.append(RATES / 2, [1e3]), np.append(QUALITIES, [60.0]))
    # The last slope is another one.
    assert bd_rate(anchor, beyond) == pytest.approx(-0.5, abs=0.01)


def test_others_narrow_the_qualities() -> None:
    anchor = curve(RATES, QUALITIES)
    # Half of the rate at the three lowest qualities, twice at the others.
    test = curve(RATES * np.repeat([0.5, 2.0], 3), QUALITIES)
    low, high = (curve(RATES[part], QUALITIES[part]) for part in (slice(0, 3), slice(3, 6)))
    assert bd_rate(anchor, test, [low]) == pytest.approx(-0.5, abs=0.05)
    assert bd_rate(anchor, test, [high]) == pytest.approx(1, abs=0.1)
    assert np.isnan(bd_rate(anchor, test, [low, high]))


def test_what_is_not_shared_is_no_number() -> None:
    anchor = curve(RATES, QUALITIES)
    assert np.isnan(bd_rate(anchor, curve(RATES, QUALITIES + 100)))
    assert np.isnan(bd_rate(anchor, curve(RATES[:1], QUALITIES[:1])))
    assert np.isnan(saving_at(anchor, anchor, 10.0))
    assert np.isnan(saving_at(anchor, curve(RATES, QUALITIES + 100), 0.5))


def test_points_that_cost_more_and_are_no_better_are_left_out() -> None:
    points = [(1.0, 30.0), (0.5, 20.0), (2.0, 29.0), (0.5, 21.0), (3.0, 35.0), (4.0, float("inf"))]
    found = Curve.of(points)
    assert found.rates.tolist() == [0.5, 1.0, 3.0]
    assert found.qualities.tolist() == [21.0, 30.0, 35.0]


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        low, high = interval({str(n): [rng.normal()] for n in range(30)}, seed, rounds=300)
        hits += low <= 0 <= high
    assert 0.88 < hits / 200 < 1


def test_bands_of_a_place_do_not_narrow_the_interval() -> None:
    alone = interval({"a": [1.0], "b": [2.0], "c": [4.0]}, seed=0)
    assert interval({"a": [1.0] * 9, "b": [2.0] * 9, "c": [4.0] * 9}, seed=0) == alone
