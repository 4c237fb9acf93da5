"""Single frames of video codecs: AV1 (which AVIF holds), HEVC and VVC, by ffmpeg.

Bare bitstreams, as the containers of pictures would add some hundred bytes.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sar_codec.evaluation.codecs import IntegerCodec

_ALIGNMENT = 8  # of sides, as chroma of half the size and coding units need it


@dataclass(frozen=True)
class Frame:
    """How ffmpeg codes a frame.

    Attributes:
        program: ffmpeg's path.
        stream: what it calls the bitstream.
        pixels: what it calls the samples.
        options: of the encoder; of `{setting}`, the setting, rounded: quantisers are whole.
        threads: to code with.
    """

    program: str
    stream: str
    pixels: str
    options: tuple[str, ...]
    threads: int

    def encode(self, image: NDArray[np.uint16], setting: float) -> bytes:
        """The bitstream of an image `(height, width)`."""
        height, width = image.shape
        padded = np.pad(image, ((0, -height % _ALIGNMENT), (0, -width % _ALIGNMENT)), "edge")
        samples = padded.astype("<u2").tobytes()
        if self.pixels.startswith("yuv420"):
            # Grey: chroma in the middle of 10 bits, which costs some bytes.
            samples += np.full(padded.size // 2, 512, "<u2").tobytes()
        size = f"{padded.shape[1]}x{padded.shape[0]}"
        read = ("-f", "rawvideo", "-pix_fmt", self.pixels, "-s", size, "-i", "-")
        options = [each.format(setting=round(setting)) for each in self.options]
        write = ("-threads", str(self.threads), *options, "-f", self.stream, "-")
        return self._run([*read, *write], samples)

    def decode(self, data: bytes, height: int, width: int) -> NDArray[np.uint16]:
        """The image of a bitstream."""
        read = ("-threads", str(self.threads), "-f", self.stream, "-i", "-")
        samples = self._run([*read, "-f", "rawvideo", "-pix_fmt", self.pixels, "-"], data)
        rows, columns = height + -height % _ALIGNMENT, width + -width % _ALIGNMENT
        luma = np.frombuffer(samples, "<u2", rows * columns).reshape(rows, columns)
        return luma[:height, :width].astype(np.uint16)

    def _run(self, arguments: Sequence[str], data: bytes) -> bytes:
        command = [self.program, "-hide_banner", "-loglevel", "error", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")
        return done.stdout


def av1(threads: int, bits: int) -> IntegerCodec:
    """By aom, one plane, rates by its quantiser.

    Not by imagecodecs: its encoder of AVIF takes images of one channel without loss, whatever
    the level.

    Raises:
        ImportError: imageio-ffmpeg is not installed, or lacks the encoder.
    """
    options = "-c:v libaom-av1 -usage allintra -still-picture 1 -cpu-used 3 -aq-mode 0 -tune psnr"
    settings = (62, 60, 57, 53, 48, 42, 35, 28, 21, 14, 7)
    pixels = f"gray{bits}le"
    options += " -crf {setting} -b:v 0"
    return _codec(f"AVIF, {bits} bit", "obu", pixels, options, settings, bits, threads)


def hevc(threads: int) -> IntegerCodec:
    """By x265 with nothing that looks better and measures worse, rates by its quantiser.

    Raises:
        ImportError: imageio-ffmpeg is not installed, or lacks the encoder.
    """
    # Without info=0, a frame begins with two kilobytes that tell of the options.
    params = (
        "qp={setting}:keyint=1:psy-rd=0:psy-rdoq=0:aq-mode=0:cutree=0:info=0:log-level=none"
        f":pools={threads}:frame-threads=1"
    )
    options = f"-c:v libx265 -preset slower -x265-params {params}"
    settings = (50, 48, 46, 43, 40, 36, 32, 28, 24, 20, 16, 12)
    return _codec("HEVC, 12 bit", "hevc", "gray12le", options, settings, 12, threads)


def vvc(threads: int) -> IntegerCodec:
    """By vvenc, which takes no more than 10 bit, rates by its quantiser.

    Raises:
        ImportError: imageio-ffmpeg is not installed, or lacks the encoder.
    """
    options = "-c:v libvvenc -preset medium -qpa 0 -qp {setting}"
    settings = (51, 49, 46, 42, 38, 34, 30, 26, 22, 18, 14)
    return _codec("VVC, 10 bit", "vvc", "yuv420p10le", options, settings, 10, threads)


def _codec(
    name: str,
    stream: str,
    pixels: str,
    options: str,
    settings: Sequence[float],
    bits: int,
    threads: int,
) -> IntegerCodec:
    import imageio_ffmpeg

    program = imageio_ffmpeg.get_ffmpeg_exe()
    encoder = options.split()[1]
    if encoder not in _encoders(program):
        raise ImportError(f"this version of imageio-ffmpeg lacks {encoder}")
    frame = Frame(program, stream, pixels, tuple(options.split()), threads)
    # Settings of these codecs are quantisers: negative, so that they grow with the rate.
    return IntegerCodec(
        name,
        f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}, {options}",
        tuple(-each for each in settings),
        bits,
        lambda image, setting: frame.encode(image, -setting),
        frame.decode,
    )


@cache
def _encoders(program: str) -> str:
    command = [program, "-hide_banner", "-encoders"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
