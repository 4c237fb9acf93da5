"""How far a decoded scene is from the original, over valid pixels."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.data.scaling import to_unit
from sar_codec.evaluation.scenes import Scene
from sar_codec.metrics import SSIM_WINDOW, ssim_map


class Distortion(NamedTuple):
    """Errors in decibels, of what was never clipped.

    Attributes:
        rmse_db: root mean squared error.
        max_error_db: the largest error.
        psnr_db: for a peak of the scene's window, `Scene.range_db`.
        ssim: of decibels over the window as 0 to 1; NaN where no 11 x 11 pixels are valid.
    """

    rmse_db: float
    max_error_db: float
    psnr_db: float
    ssim: float


def distortion(scene: Scene, decoded: NDArray[np.float32]) -> Distortion:
    """Of decoded decibels `(height, width)`, finite where the scene is valid."""
    error = np.abs(decoded[scene.valid].astype(np.float64) - scene.decibels[scene.valid])
    rmse = float(np.sqrt(np.mean(np.square(error))))
    with np.errstate(divide="ignore"):
        psnr = float(20 * np.log10(scene.range_db / np.float64(rmse)))
    return Distortion(rmse, float(error.max()), psnr, _ssim(scene, decoded))


def _ssim(scene: Scene, decoded: NDArray[np.float32]) -> float:
    """The mean over pixels around which a whole window is valid."""
    shown = np.where(scene.valid, decoded, scene.filled)
    images = (_tensor(to_unit(each, scene.low_db, scene.high_db)) for each in (shown, scene.filled))
    invalid = _tensor((~scene.valid).astype(np.float32))
    near = torch.nn.functional.max_pool2d(invalid, SSIM_WINDOW, 1, SSIM_WINDOW // 2)
    values = ssim_map(*images)[near == 0]
    return float(values.double().mean()) if len(values) else float("nan")


def _tensor(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None, None]
