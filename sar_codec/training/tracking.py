"""What a run leaves to look at: TensorBoard events and history.csv."""

import csv
import io
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import google_crc32c
import torch
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer import event_file_writer, record_writer
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from sar_codec.files import cannot_be_written, write_whole

HISTOGRAM_BINS = 64
BEST = ("best/loss", "best/psnr", "best/ssim")  # validation's, of the best epoch

HParam = bool | int | float | str


def _wait_to_come_last(folder: Path) -> None:
    """Waits, a second at most, until a new event file's name comes after those there are.

    TensorBoard reads them in the order of their names: by the second, then the process number as
    text. A run that goes on within a second, in a process of a lower number, would come first, and
    what it voids would void its own.
    """
    last = max((each.name for each in folder.glob("events.out.tfevents.*")), default="")
    until = time.monotonic() + 1.1  # not for ever where a clock was set back
    while time.monotonic() < until:
        begin = f"events.out.tfevents.{int(time.time()):010d}.{platform.node()}.{os.getpid()}."
        if begin > last:
            return
        time.sleep(0.02)


def masked_crc32c(data: bytes) -> int:
    """The checksum of a TensorBoard record, as TFRecord files define it.

    TensorBoard's own is pure Python, and was the dearest part of an epoch's end.
    """
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class QuietThread(event_file_writer._AsyncWriterThread):  # type: ignore[misc]  # untyped
    """TensorBoard's writing thread; the next call raises its error, no need to print it too."""

    def run(self) -> None:
        with suppress(OSError):
            super().run()


class Tracker:
    """Writes into `tensorboard/` and `history.csv` of a run directory.

    The event file is opened with the first thing that is written, so that a run which fails before
    its first epoch leaves none. Where they cannot be written, all methods raise a UserError.

    Args:
        run_dir: the folder of the run.
        hparams: what TensorBoard's HParams page shows of the run, beside the scalars BEST.
    """

    def __init__(self, run_dir: Path, hparams: Mapping[str, HParam] | None = None) -> None:
        self.run_dir = run_dir
        self.hparams = dict(hparams or {})
        self._writer: SummaryWriter | None = None

    def writer(self, epoch: int) -> SummaryWriter:
        """The TensorBoard writer; what was written here before of `epoch` and later is void."""
        if self._writer is None:
            record_writer.masked_crc32c = masked_crc32c
            event_file_writer._AsyncWriterThread = QuietThread
            _wait_to_come_last(self.run_dir / "tensorboard")
            with self._writing():
                self._writer = SummaryWriter(str(self.run_dir / "tensorboard"), purge_step=epoch)
                if self.hparams:
                    # Not add_hparams, which makes a run of its own of it, beside this one.
                    for summary in hparams(self.hparams, dict.fromkeys(BEST, 0.0)):
                        self._writer._get_file_writer().add_summary(summary)
        return self._writer

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A context for what may write to the event file, now or, by its thread, earlier."""
        try:
            yield
        except OSError as error:
            writer, self._writer = self._writer, None
            if writer is not None:
                with suppress(OSError):  # the same one again
                    writer._get_file_writer().close()
            raise cannot_be_written(self.run_dir / "tensorboard", error) from error

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        with self._writing():
            for name, value in values.items():
                self.writer(epoch).add_scalar(name, value, epoch)

    def image(self, name: str, image: Image.Image, epoch: int) -> None:
        """Logs an image as a PNG, quickly compressed, palettes kept."""
        # add_image makes RGB of it and compresses for four times as long.
        png = io.BytesIO()
        image.save(png, "PNG", compress_level=1)
        encoded = Summary.Image(
            height=image.height, width=image.width, encoded_image_string=png.getvalue()
        )
        summary = Summary(value=[Summary.Value(tag=name, image=encoded)])
        with self._writing():
            self.writer(epoch)._get_file_writer().add_summary(summary, epoch)

    def histograms(self, model: nn.Module, epoch: int) -> None:
        """Logs `weights/<name>` and, where there are some, `gradients/<name>`."""
        with self._writing():
            for name, parameter in model.named_parameters():
                self._histogram(f"weights/{name}", parameter.detach(), epoch)
                if parameter.grad is not None:
                    self._histogram(f"gradients/{name}", parameter.grad, epoch)

    def _histogram(self, name: str, values: Tensor, epoch: int) -> None:
        # TensorBoard refuses histograms of values that are not finite.
        if not torch.isfinite(values).all():
            return
        # add_histogram sorts into 1,500 bins of which TensorBoard shows 30, for ten times as long.
        values = values.float()
        low, high = (float(each) for each in torch.aminmax(values))
        # Equal values share one bin; histc would spread its bins by 1 to either side of them.
        bins = HISTOGRAM_BINS if low < high else 1
        counts = torch.histc(values, bins, low, high).tolist()
        width = (high - low) / bins
        self.writer(epoch).add_histogram_raw(
            name,
            min=low,
            max=high,
            num=values.numel(),
            sum=float(values.double().sum()),
            sum_squares=float(values.double().square().sum()),
            bucket_limits=[low + width * edge for edge in range(1, bins)] + [high],
            bucket_counts=counts,
            global_step=epoch,
        )

    def history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Writes all rows to history.csv, which appears whole."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, columns)
        table.writeheader()
        table.writerows(rows)
        write_whole(self.run_dir / "history.csv", [text.getvalue().encode()])

    def flush(self) -> None:
        if self._writer is not None:
            with self._writing():
                self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            with self._writing():
                self._writer.close()
            self._writer = None
