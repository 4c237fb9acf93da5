import numpy as np
import pytest
import torch
from torch.nn import functional

from sar_codec.coding.emphasis import AROUND, Pixels, of_first_order, of_second_order

LEAST, MOST = np.float32(0.5), np.float32(4)


def over_around(decibels: Pixels) -> Pixels:
    """The same by torch's pooling and interpolation."""
    x = torch.from_numpy(decibels)[None, None]
    means = functional.avg_pool2d(x, AROUND, ceil_mode=True, count_include_pad=False)
    means = means.nan_to_num(0).clamp(-800, 800)
    around = functional.interpolate(means, scale_factor=AROUND, mode="bilinear")
    nepers = (x - around[..., : x.shape[2], : x.shape[3]]) * (np.log(10) / 10)
    return (1 + nepers)[0, 0].numpy()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (16, 16), (33, 50), (100, 257)])
@pytest.mark.parametrize("other", [-7.0, np.nan, 3000.0, -3000.0, np.inf])
def test_it_is_as_torch_pools_and_interpolates(shape: tuple[int, int], other: float) -> None:
    decibels = np.random.default_rng(0).normal(-12, 4, shape).astype(np.float32)
    decibels[0, 0] = other
    expected = over_around(decibels)
    first = of_first_order(decibels, LEAST, MOST)
    np.testing.assert_allclose(first, expected.clip(LEAST, MOST), atol=2e-4)
    second = of_second_order(decibels, MOST)
    np.testing.assert_allclose(second, (1 + expected.clip(0, MOST) ** 2) / 2, atol=1e-3)


def test_means_are_held_within_what_is_measured() -> None:
    decibels = np.full((AROUND, AROUND), 2000, np.float32)
    decibels[0, 0] = 800
    assert of_first_order(decibels, LEAST, MOST)[0, 0] == 1
