"""Layers that every machine agrees on to the last bit: integers held in floating point."""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sar_codec.entropy.byte_products import LARGEST_SUM, ByteMatrix, are_usable, halved, product

# Exact activations are integers in units of 1/32, levels in units of 1/64.
FRACTION = 32
LEVEL_STEPS = 64
_LARGEST = 2**15 - 1
_LARGEST_WEIGHT = 127
_WHOLE_IN_FLOAT32 = 2**24
_FINEST = 20  # no weight is below 2^-20, that biases in units of products stay exact too


class IntegerLayer(nn.Module):
    """`(B, in, h, w)` -> `(B, out, h, w)`: a 1x1 convolution, in floating point or exact.

    Weights are integers of 8 bits times a power of two for each output; they are rounded to that
    on each use, the gradient passing through, so that nothing has to be converted after training.
    The bias depends on the quality level.

    Of float32, as in training, the result is float32. Of int32 it is exact: activations are
    integers of 16 bits in units of 1/32. Sums of their products, below 2^15 x 2^7 x `in`, are made
    in float64, where they are the same in any order: with any number of threads, instruction set,
    batch, device. Where they are below 2^24, as is mostly so, float32 does the same in half the
    time, and products of bytes in half of that, where the processor has them.

    Args:
        inputs: channels.
        outputs: channels.
        levels: of quality.
    """

    def __init__(self, inputs: int, outputs: int, levels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(levels, outputs))
        nn.init.normal_(self.weight, std=1 / math.sqrt(inputs))
        self._made: tuple[object, _Constants] | None = None

    def forward(self, x: Tensor | Sequence[Tensor], level: Tensor) -> Tensor:
        """The layer's result, `saturated`.

        Args:
            x: `saturated` activations, or several that are taken together, `(B, ., h, w)`.
            level: `(B,)`, from 0 to `levels - 1`; float32, or int64 in units of 1/64.
        """
        parts = [x] if isinstance(x, Tensor) else x
        if parts[0].dtype == torch.int32:
            return self._exact(parts, level)
        return self._trained(parts[0] if len(parts) == 1 else torch.cat(tuple(parts), 1), level)

    def _trained(self, x: Tensor, level: Tensor) -> Tensor:
        unit = self._units().float()
        rounded = (self.weight.detach() / unit).round().clamp(-_LARGEST_WEIGHT, _LARGEST_WEIGHT)
        weight = self.weight + (rounded * unit - self.weight).detach()
        with torch.autocast(x.device.type, enabled=False):
            y = functional.conv2d(x.float(), weight[:, :, None, None])
        return saturated(y + between_levels(self.bias, level))

    @torch.no_grad()
    def integers(self, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What exact results are made of, float64.

        Args:
            level: `(B,)`, int64 in units of 1/64.

        Returns:
            Integer weights `(out, in)`; integer biases `(B, out, 1)`, in units of products; the
            powers of two by which sums become activations, `(out, 1)`.
        """
        unit = self._units()
        weight = (self.weight / unit).round().clamp(-_LARGEST_WEIGHT, _LARGEST_WEIGHT)
        bias = (saturated(self.bias).double() * FRACTION / unit.T).round()
        return weight, between_levels(bias, level).flatten(2), unit

    @torch.no_grad()
    def _exact(self, parts: Sequence[Tensor], level: Tensor) -> Tensor:
        made = self._constants(level)
        if len(parts[0]) == 1 and parts[0].device.type == "cpu" and are_usable():
            x = halved(_joined(parts, torch.int32)[0].flatten(1))
            if x.sizes.max() <= _LARGEST and made.largest_sum(x.sizes) < LARGEST_SUM:
                y = product(made.of_bytes, x, _LARGEST)
                return y.reshape(1, -1, *parts[0].shape[2:])
        others = 0, 2, 3
        sizes = torch.cat([torch.maximum(each.amax(others), -each.amin(others)) for each in parts])
        weight, bias = made.weight, made.bias
        is_small = made.largest_sum(sizes) < _WHOLE_IN_FLOAT32
        if is_small and multiplies_float32_in_full(weight.device):
            weight, bias = made.short_weight, made.short_bias
        with torch.autocast(weight.device.type, enabled=False):
            flat = _joined(parts, weight.dtype).flatten(2)
            y = torch.baddbmm(bias, weight.expand(len(flat), -1, -1), flat).floor_()
        return y.clamp_(-_LARGEST, _LARGEST).int().reshape(len(y), -1, *parts[0].shape[2:])

    def _constants(self, level: Tensor) -> "_Constants":
        """What there is to multiply by; kept, as the tiles of a file are all of one level."""
        if self.weight.requires_grad:  # optimizers need not tell that they changed it
            return _Constants.of(*self.integers(level))
        key = (level.tolist(), versions([self.weight, self.bias]))
        made = self._made
        if made is None or made[0] != key:
            self._made = made = key, _Constants.of(*self.integers(level))
        return made[1]

    def _units(self) -> Tensor:
        """Powers of two, in units of which each output's weights are at most 128: `(out, 1)`."""
        largest = self.weight.detach().abs().amax(1, keepdim=True)
        exponent = (torch.frexp(largest).exponent - 7).clamp(-_FINEST, 0)
        # Not exp2, which need not be exact.
        return (1 << (exponent + _FINEST)).double() / 2**_FINEST


def _joined(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Channels of all parts, as another type, in one pass: new memory takes longest."""
    count, _, height, width = parts[0].shape
    channels = [each.shape[1] for each in parts]
    joined = parts[0].new_empty(count, sum(channels), height, width, dtype=dtype)
    for place, part in zip(joined.split(channels, 1), parts, strict=True):
        place.copy_(part)
    return joined


class _Constants(NamedTuple):
    """Of a layer at some levels: what sums are made of, once rounded down, in units of 1/32.

    Attributes:
        weight: `(out, in)`, float64: integers times powers of two, which change no rounding.
        bias: with 1/2, so that what is rounded down is rounded, `(B, out, 1)`.
        short_weight: the same in float32.
        short_bias: likewise.
        sizes: of the integers of weights, `(out, in)`.
        largest_bias: of all levels, in units of products, `(out,)`.
        of_bytes: the same, of the first of the levels.
    """

    weight: Tensor
    bias: Tensor
    short_weight: Tensor
    short_bias: Tensor
    sizes: Tensor
    largest_bias: Tensor
    of_bytes: ByteMatrix

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, unit: Tensor) -> "_Constants":
        weights, biases = weight * unit, bias * unit + 0.5
        largest = bias.abs().amax(0)[:, 0] + 0.5 / unit[:, 0]
        short = weights.float(), biases.float()
        of_bytes = ByteMatrix.of(weight, bias[0, :, 0], unit[:, 0])
        return cls(weights, biases, *short, weight.abs(), largest, of_bytes)

    def largest_sum(self, sizes: Tensor) -> float:
        """What no sum exceeds, whatever its order, of inputs of such sizes; with 1/2 to round."""
        return float((self.sizes @ sizes.double() + self.largest_bias).max())


def versions(parameters: Iterable[Tensor]) -> tuple[object, ...]:
    """Equal to what it was before where none of them has changed, unless by a fused optimizer."""
    return tuple((each.data_ptr(), each._version, each.device) for each in parameters)


def multiplies_float32_in_full(device: torch.device) -> bool:
    """Whether nobody has allowed matrix products to be rounded to bf16 or TF32.

    float64, which takes twice as long, has no such setting.
    """
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    return backend.matmul.fp32_precision in ("none", "ieee")


def saturated(x: Tensor) -> Tensor:
    """Values held within 16 bits, as activations.

    Exact ones, in units of 1/32, which are of int32 or, where they may be larger, float64, become
    int32; others are in units of 1, and stay of their type.
    """
    if _is_exact(x):
        return x.clamp(-_LARGEST, _LARGEST).int()
    return x.clamp(-_LARGEST / FRACTION, _LARGEST / FRACTION)


def rectified(x: Tensor) -> Tensor:
    """What lies between layers: negative activations become 0."""
    return x.clamp_min(0)


def log_size(x: Tensor) -> Tensor:
    """Binary logarithm of 1 + |x|, linear between powers of two; of activations, activations.

    Scales are to be told from sizes, and range over powers of two with the quality. A power and
    what is left of it are exact on every machine, a logarithm is not. Exact ones are of int32.
    """
    if x.dtype == torch.int32:
        return _log_sizes(x.device).index_select(0, x.abs().flatten()).reshape(x.shape)
    return _log_size(x, 1)


@cache
def _log_sizes(device: torch.device) -> Tensor:
    """Of all exact activations there are, by their size: int32."""
    sizes = torch.arange(_LARGEST + 1, dtype=torch.float64, device=device)
    return _log_size(sizes, FRACTION).floor().int()


def _log_size(x: Tensor, unit: int) -> Tensor:
    share, power = torch.frexp((x.abs() + unit) / unit)
    return (power + 2 * share - 2) * unit


def _is_exact(x: Tensor) -> bool:
    return x.dtype in (torch.int32, torch.float64)


def between_levels(values: Tensor, level: Tensor) -> Tensor:
    """Rows of `(levels, C)`, interpolated linearly at levels `(B,)`: `(B, C, 1, 1)`.

    At levels of int64, in units of 1/64, integers give integers, rounded down: exactly.
    """
    if level.is_floating_point():
        # By products: on a GPU, the gradient of an index is ten kernels, and makes most of a step.
        rows = torch.arange(len(values), device=level.device)
        shares = (1 - (level[:, None] - rows).abs()).clamp_min(0)
        return (shares[:, :, None] * values).sum(1)[:, :, None, None]
    below = (level / LEVEL_STEPS).floor().long().clamp(0, len(values) - 2)
    share = (level - LEVEL_STEPS * below)[:, None]
    mixed = values[below] * (LEVEL_STEPS - share) + values[below + 1] * share
    return (mixed / LEVEL_STEPS).floor()[:, :, None, None]
