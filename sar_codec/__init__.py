"""Train, measure and apply learned codecs for SAR images."""

__version__ = "0.1.0"
