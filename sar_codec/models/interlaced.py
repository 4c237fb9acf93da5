"""A network that tells pixels of SAR images from those around them, coarse to fine."""

from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from sar_codec.entropy.integer import FRACTION, IntegerLayer, rectified
from sar_codec.entropy.quantisation import bounded
from sar_codec.entropy.skewed import SKEW_STEP, SKEWS, SkewedTables, skewed_bits
from sar_codec.models.interlacing import COARSE, FINE, NEAREST, Pass, Surroundings, passes
from sar_codec.models.kernels import Kernel, fitted, plain_kernel, reference
from sar_codec.models.transform import Coded

# Grids one and two pixels wide have networks of their own; those of all wider ones share.
_KINDS = (FINE, COARSE, COARSE)
LEVELS = 8
LOWEST_LEVEL = -4  # binary logarithm of the cells' width in dB at the first level
# Of activations, in units of 1: what leaves sums of their products room to be exact in float32.
LARGEST = (2**12 - 1) / FRACTION
_VALIDATED_DB = 1.0, 2.0, 0.5, 4.0  # widths
_INTEGER_SHARE = 0.2  # of images in training, taken as integer amplitudes


class Cells(NamedTuple):
    """How the images of a batch are taken in training.

    Attributes:
        width_db: of the cells, `(B, 1, 1)`; of integers, that at 0 dB.
        is_integer: whether images are integer amplitudes, `(B, 1, 1)`.
    """

    width_db: Tensor
    is_integer: Tensor

    def of_integers(self, decibels: Tensor) -> Tensor:
        """Decibels `(B, H, W)`, as those of whole amplitudes where images are such."""
        unit = self.width_db / _INTEGER_DB
        amplitude = (10 ** (decibels / 20) / unit).round().clamp_min(1) * unit
        return torch.where(self.is_integer, 20 * amplitude.log10(), decibels)

    def anywhere(self, decibels: Tensor) -> Tensor:
        """The middle of cells that lie anywhere and hold the decibels."""
        noise = (torch.rand_like(decibels) - 0.5) * self.width_db
        return torch.where(self.is_integer, decibels, decibels + noise)

    def decoded(self, decibels: Tensor, mean: Tensor) -> Tensor:
        """The middle of the cells that hold the decibels, one of which has the mean there.

        They follow the mean, so that how far they are from it has no gradient.
        """
        laid = mean + self.width_db * ((decibels - mean) / self.width_db).round().detach()
        return torch.where(self.is_integer, decibels, laid)

    def log_width(self, decibels: Tensor) -> Tensor:
        """Binary logarithm of the width in dB of the cells there."""
        logarithm = self.width_db.log2()
        return torch.where(
            self.is_integer, logarithm - decibels * _OCTAVES_A_DB, logarithm.expand_as(decibels)
        )


_INTEGER_DB = 8.685889638  # amplitudes n and n + 1 are this over n apart, in dB
_OCTAVES_A_DB = 0.1660964047  # of amplitude


class Interlaced(nn.Module):
    r"""Images `(B, 1, H, W)` -> what is left of them in cells of some width, `Coded`.

    An image's pixels are told in decibels, one grid after the other, each twice as fine: of the
    finest a sixteenth at once, of the others a quarter. Each is taken for the middle of the cell
    that it is in; these tell of the pixels that follow. The bits are those of the cells, without
    any other loss.

        16 to 40 known around -- less a prediction by a kernel -- 3 integer layers -- mean, scale,
                                                                                      skew

    Cells lie around the mean, so that most pixels are in one where cells are wide; in training,
    each integer is a cell of its own. The kernel is fitted to each image and pass, and sent
    along: how speckle is correlated depends on the product's resampling, and it saves 3 %. Each
    kind of pass has a network of its own, for the finest grid, the next one, and all others.

    In training each image has cells of a width drawn from the global generator, from 0.07 to 7 dB,
    or is taken as integer amplitudes of a scale that is; in evaluation widths are given by the
    place in the batch. Bits are those of a formula. Pixels that are exactly one of the nearest, as
    resampling to the nearest makes them, cost none here: coding takes their pattern out.

    48,624 parameters by default and 2,212 multiply-adds a pixel.

    Args:
        width: channels inside.
        window_db: decibels from 0 to 1 of images.
    """

    def __init__(
        self,
        width: Annotated[int, Ge(1), Le(62)] = 32,
        window_db: Annotated[float, Gt(0)] = 80.0,
    ) -> None:
        super().__init__()
        self.window_db = window_db
        self.tellers = nn.ModuleList(
            Teller(len(kind.offsets), width) for kinds in _KINDS for kind in kinds
        )
        self.tables = SkewedTables()

    def teller(self, which: Pass) -> "Teller":
        """The network for a pass."""
        grid = min(which.spacing.bit_length() - 1, len(_KINDS) - 1)
        teller = self.tellers[sum(map(len, _KINDS[:grid])) + _KINDS[grid].index(which.kind)]
        assert isinstance(teller, Teller)
        return teller

    def forward(self, x: Tensor) -> tuple[Tensor, Coded]:
        decibels = x[:, 0].float() * self.window_db
        if self.training:
            cells, shift = random_cells(decibels)
            has_fit = torch.rand(len(x), device=x.device) < 0.8
        else:
            cells, shift = validated_cells(decibels)
            has_fit = torch.ones(len(x), dtype=torch.bool, device=x.device)
        original = decibels - shift
        # Of those that are no integers, passes put what is decoded in the original's place.
        known = cells.of_integers(original)
        nominal = cells.log_width(known).flatten(1).mean(1)
        bits = torch.zeros_like(nominal)
        for each in passes(*known.shape[1:]):
            surroundings = Surroundings(known, each)
            around, values = surroundings.of_rows(surroundings.rows), each.of(known).clone()
            kernel = plain_kernel(len(x), around.shape[1], x.device)
            if each.has_kernel:
                found = fitted(around, values)
                kernel = Kernel(
                    *(
                        torch.where(has_fit.reshape(-1, *[1] * (a.dim() - 1)), a, b)
                        for a, b in zip(found, kernel, strict=True)
                    )
                )
            near = reference(around)
            log_width = cells.log_width(near)
            mean, log_scale, skew = self.teller(each)(
                around - near[:, None],
                kernel,
                log_width - nominal[:, None, None],
                nominal - LOWEST_LEVEL,
            ).unbind(1)
            mean = near + mean
            log_width = cells.log_width(values)
            decoded = cells.decoded(values, mean)
            spent = _bits(decoded - mean, log_scale, skew, log_width)
            if self.training:
                # A cell that follows the mean teaches it nothing, one that lies anywhere does.
                density = log_scale.detach(), skew.detach()
                still = _bits(cells.anywhere(values) - mean, *density, log_width)
                spent = spent + torch.where(cells.is_integer, 0, still - still.detach())
            if each.spacing == 1 and each.kind.is_between:
                spent = spent.masked_fill(_repeated(decibels, each), 0)
            bits = bits + spent.flatten(1).sum(1)
            each.of(known).copy_(decoded.detach())
        x_hat = ((known + shift) / self.window_db)[:, None]
        return x_hat, Coded(bits, ((nominal - LOWEST_LEVEL) / (LEVELS - 1)).clamp(0, 1))


class Teller(nn.Module):
    """What is around pixels -> mean, scale and skew of each: `(B, 3, h, w)`.

    Args:
        places: known ones around.
        width: channels inside.
    """

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.enter = IntegerLayer(places + 2, width, LEVELS)
        self.inside = IntegerLayer(width, width, LEVELS)
        self.leave = IntegerLayer(width, 3, LEVELS)
        with torch.no_grad():
            self.enter.weight.mul_(0.3)  # decibels
            self.leave.weight.mul_(0.1)
            self.leave.bias[:, 1] = 0.5

    def forward(self, around: Tensor, kernel: Kernel, local: Tensor, level: Tensor) -> Tensor:
        """Mean and binary logarithm of the scale, in dB, and skew.

        Args:
            around: decibels less the reference, `(B, places, h, w)`.
            kernel: that predicts.
            local: binary logarithm of the width of the cells there, less the image's, `(B, h, w)`.
            level: of the image, `(B,)`.
        """
        predicted = (around.clamp(-LARGEST, LARGEST) * kernel.weights[:, :, None, None]).sum(1)
        spread = kernel.spread[:, None, None, None].expand(-1, 1, *local.shape[1:])
        known = torch.cat([around - predicted[:, None], local[:, None], spread], 1)
        inside = _held(rectified(self.enter(_held(known), level)))
        inside = _held(rectified(self.inside(inside, level)))
        told = self.leave(inside, level)
        return torch.cat([told[:, :1] + predicted[:, None], told[:, 1:]], 1)


def random_cells(decibels: Tensor) -> tuple[Cells, Tensor]:
    """Cells for training, and what is to be taken off the decibels before: `(B, 1, 1)`."""
    count, device = len(decibels), decibels.device
    width = torch.exp2(torch.empty(count, 1, 1, device=device).uniform_(-3.8, 2.8))
    is_integer = torch.rand(count, 1, 1, device=device) < _INTEGER_SHARE
    # The middle amplitude is anything from 8 to 1024.
    middle = decibels.flatten(1).median(1).values[:, None, None]
    integer = _INTEGER_DB / torch.exp2(torch.empty_like(width).uniform_(3, 10))
    shift = torch.where(is_integer, middle, torch.rand_like(width) * width)
    return Cells(torch.where(is_integer, integer, width), is_integer), shift


def validated_cells(decibels: Tensor) -> tuple[Cells, Tensor]:
    """Cells for validation, of widths that depend on the place in the batch."""
    widths = torch.tensor(_VALIDATED_DB, device=decibels.device)
    width = widths.repeat(-(-len(decibels) // len(widths)))[: len(decibels), None, None]
    return Cells(width, torch.zeros_like(width, dtype=torch.bool)), torch.zeros_like(width)


def _bits(deviation: Tensor, log_scale: Tensor, skew: Tensor, log_width: Tensor) -> Tensor:
    # No table is narrower; there is no widest one, bits below are sent as they are.
    log_scale = bounded(log_scale - log_width, -4, 12)
    skew = bounded(skew, -_LARGEST_SKEW, _LARGEST_SKEW)
    cells = deviation / torch.exp2(log_width)
    scale = torch.exp2(log_scale)
    return skewed_bits((cells - 0.5) / scale, (cells + 0.5) / scale, skew)


_LARGEST_SKEW = (SKEWS - 1) // 2 * SKEW_STEP


def _repeated(decibels: Tensor, which: Pass) -> Tensor:
    """Whether pixels are exactly one of the nearest, as resampling to the nearest makes them.

    Coding takes the regular pattern of such pixels out, for next to nothing.
    """
    surroundings = Surroundings(decibels, which)
    nearest = surroundings.of_rows(surroundings.rows)[:, :NEAREST]
    return (nearest == which.of(decibels)[:, None]).any(1)


def _held(x: Tensor) -> Tensor:
    return x.clamp(-LARGEST, LARGEST)
