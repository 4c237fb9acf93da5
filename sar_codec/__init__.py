"""Train, measure and apply learned codecs for SAR images."""

from typing import TYPE_CHECKING, Any

from sar_codec.errors import UserError

if TYPE_CHECKING:
    from sar_codec.arrays import compress, decompress, open

__version__ = "0.1.0"
__all__ = ["UserError", "__version__", "compress", "decompress", "open"]


def __getattr__(name: str) -> Any:
    if name not in ("compress", "decompress", "open"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sar_codec import arrays  # at first use, as torch takes seconds

    return getattr(arrays, name)
