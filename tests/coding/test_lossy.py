import numpy as np
import torch

from sar_codec.coding.layout import crc32c
from sar_codec.coding.lossy import check_of


def test_checks_are_of_integers_of_32_bits_and_of_the_ends_beyond() -> None:
    y_hat = torch.tensor([-1e12, -(2.0**31), -5, 0, 7, 2.0**31 - 1, 1e12], dtype=torch.float64)
    held = [-(2**31), -(2**31), -5, 0, 7, 2**31 - 1, 2**31 - 1]
    assert check_of(y_hat) == crc32c(np.array(held, "<i4").tobytes())
    assert check_of(y_hat[2:5]) == crc32c(np.array(held[2:5], "<i4").tobytes())
