import numpy as np
import pytest
import torch
from torch.nn import functional

from sar_codec.models.refinement_kernel import Values, refined


def weights_of(width: int) -> list[Values]:
    random = np.random.default_rng(width)
    shapes = (width, 36), (width,), (width, width), (width,), (4, width)
    return [random.normal(0, 0.3, shape).astype(np.float32) for shape in shapes]


def by_convolutions(x: Values, *weights: Values) -> Values:
    enter, enter_bias, inside, inside_bias, leave = map(torch.from_numpy, weights)
    blocks = functional.pixel_unshuffle(torch.from_numpy(x.copy())[None], 2)
    around = functional.pad(blocks, (1, 1, 1, 1), "replicate")
    told = functional.conv2d(around, enter.reshape(-1, 4, 3, 3), enter_bias).relu()
    told = functional.conv2d(told, inside[..., None, None], inside_bias).relu()
    errors = functional.conv2d(told, leave[..., None, None])
    return x + functional.pixel_shuffle(errors, 2)[0].numpy()


@pytest.mark.parametrize("width", [1, 4, 5, 32])
@pytest.mark.parametrize("transposed", [False, True])
def test_any_width_gives_what_convolutions_give(width: int, transposed: bool) -> None:
    x = np.random.default_rng(0).normal(size=(10, 118)).astype(np.float32)
    x = x.T if transposed else x
    found = refined(x, *weights_of(width))
    np.testing.assert_allclose(found, by_convolutions(x, *weights_of(width)), atol=1e-5)


def test_what_is_no_number_stays_so() -> None:
    x = np.ones((8, 8), np.float32)
    x[3, 4] = np.nan
    found = np.isnan(refined(x, *weights_of(4)))
    assert found[:6, 2:8].all() and found.sum() == 36
    broken = weights_of(4)
    broken[2][:] = np.nan
    assert np.isnan(refined(np.ones((8, 8), np.float32), *broken)).all()


def test_an_odd_side_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 7\): its sides are to be even"):
        refined(np.ones((4, 7), np.float32), *weights_of(4))
