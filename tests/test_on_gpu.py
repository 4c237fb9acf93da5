"""What the programs and networks do on a GPU, held against what they do on a CPU."""

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sar_codec.coding.lossy import Network
from sar_codec.entropy.counted import CountedTables
from sar_codec.entropy.gaussian import SCALES, scale_of
from sar_codec.entropy.search import Prices, quantised_in_training
from sar_codec.entropy.trellis import LONG
from sar_codec.errors import UserError
from sar_codec.losses import CombinedLoss, Rate, RateDistortion
from sar_codec.models.autoencoder import SARAutoencoder
from sar_codec.models.factorized import Factorized
from sar_codec.models.hyperprior import Hyperprior
from sar_codec.models.interlaced import Interlaced
from sar_codec.networks import QUALITY, network_of
from sar_codec.training.trainer import Trainer

pytestmark = pytest.mark.gpu

SMALL = (
    "device=cuda",
    "data.scenes=6",
    "data.size=128",
    "data.patch_size=64",
    "data.batch_size=8",  # the last one of an epoch is smaller
)
SMALL_CODEC = (
    "model=hyperprior",
    "loss=rate_distortion",
    "model.width=8",
    "model.analysis_depth=1",
    "model.synthesis_depth=1",
    "model.hyper_width=8",
    "model.context_width=8",
)


def scene(*size: int) -> Tensor:
    """Correlated speckle with targets far outside [0, 1]."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(size, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    x = torch.linspace(0.2, 0.6, size[-1]).expand(size) + 0.1 * smooth
    x[..., ::37, ::41] = 1.7
    return x


def test_what_one_device_wrote_the_other_one_reads() -> None:
    """A million symbols of the shipped network at each of five qualities."""
    network = network_of(QUALITY)
    assert isinstance(network, Network)
    here = network.model
    there = copy.deepcopy(here).cuda()
    x = scene(1, 1, 1024, 1024)
    for quality in (1.0, 3.3, 5.0, 6.7, 8.0):
        y = here.latents(x, quality)
        written, latents = here.compress_latents(y, quality, (64, 64))
        read = there.decompress_latents(written, quality, 1024, 1024)
        assert read.is_cuda and torch.equal(read.cpu(), latents)
        written, latents = there.compress_latents(y.cuda(), quality, (64, 64))
        read = here.decompress_latents(written, quality, 1024, 1024)
        assert torch.equal(read, latents.cpu())


def test_training_searches_along_the_trellis_of_files() -> None:
    """Costs are rounded otherwise than on a CPU, and of two paths one or the other is taken."""
    torch.manual_seed(0)
    prices = CountedTables().prices()
    scales = torch.randint(SCALES, (4, 700))
    values = scale_of(scales.float()) * torch.randn(4, 700)
    there = quantised_in_training(values.cuda(), scales.cuda(), Prices(*(e.cuda() for e in prices)))
    here = quantised_in_training(values, scales, prices)
    assert there.symbols.shape == here.symbols.shape == (LONG.length, 8)
    assert (there.symbols.cpu() == here.symbols).float().mean() > 0.95
    assert (there.decoded.cpu() == here.decoded).float().mean() > 0.95


@pytest.mark.parametrize(
    ("make", "loss_fn"),
    [
        (lambda: Hyperprior(width=16), RateDistortion()),
        (lambda: Factorized(width=16), RateDistortion()),
        (lambda: Interlaced(width=16), Rate()),
        (lambda: SARAutoencoder(latent_channels=16, width=16), CombinedLoss()),
    ],
    ids=["hyperprior", "factorized", "interlaced", "autoencoder"],
)
def test_every_model_validates_as_on_a_cpu_and_trains(
    make: Callable[[], torch.nn.Module], loss_fn: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = make()
    batches = list(scene(8, 1, 128, 128).clamp(0, 1).split(4))

    def made(device: str, precision: Any) -> Trainer:
        its = copy.deepcopy(model).to(device)
        optimizer = torch.optim.Adam(its.parameters(), lr=3e-3, fused=True)
        return Trainer(
            its,
            batches,
            batches,
            loss_fn,
            optimizer,
            run_dir=tmp_path / device / precision,
            device=device,
            precision=precision,
        )

    there, here = made("cuda", "fp32"), made("cpu", "fp32")
    expected = here.validate()
    found = there.validate()
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    assert found["psnr"] == pytest.approx(expected["psnr"], abs=0.02)
    history = made("cuda", "auto").train(10)
    assert history[-1]["val_loss"] < expected["loss"]


def test_replayed_passes_train_as_launched_ones_do(tmp_path: Path) -> None:
    """The last batch is of another size."""
    torch.manual_seed(0)
    model = SARAutoencoder(latent_channels=16, width=16)
    batches = list(scene(9, 1, 128, 128).clamp(0, 1).split(4))

    def history(replay: bool) -> list[Any]:
        its = copy.deepcopy(model).cuda()
        optimizer = torch.optim.Adam(its.parameters(), lr=3e-3, fused=True)
        settings = {"run_dir": tmp_path / str(replay), "device": "cuda", "precision": "fp32"}
        parts = (its, batches, batches, CombinedLoss(), optimizer)
        return Trainer(*parts, replay=replay, **settings).train(3)

    for launched, replayed in zip(history(False), history(True), strict=True):
        for name in ("train_loss", "val_loss", "val_psnr"):
            assert replayed[name] == pytest.approx(launched[name], rel=1e-4), name


def test_a_model_that_waits_for_the_host_cannot_be_recorded(tmp_path: Path) -> None:
    class Waiting(SARAutoencoder):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            assert x.isfinite().all().item()
            return super().forward(x)

    batches = [scene(2, 1, 64, 64).clamp(0, 1)]
    model = Waiting(latent_channels=4, width=8, depth=1)
    trainer = Trainer(model, batches, batches, CombinedLoss(), run_dir=tmp_path, replay=True)
    with pytest.raises(UserError, match=r"trainer\.replay=true: Waiting cannot be recorded"):
        trainer.train(1)


@pytest.mark.parametrize("replay", [False, True])
def test_what_a_codec_counted_in_training_is_in_its_tables(replay: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Hyperprior(width=16).cuda()
    batches = list(scene(8, 1, 128, 128).clamp(0, 1).split(4))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    before = model.scale_tables.tables.frequencies.clone()
    trainer = Trainer(
        *(model, batches, batches, RateDistortion(), optimizer),
        run_dir=tmp_path,
        replay=replay,
        ema_decay=0.9,
    )
    history = trainer.train(8)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["val_loss"] < history[0]["val_loss"]
    counts = model.scale_tables.counts
    # One a pixel, in 16 batches of 4 images, the earlier ones decayed a little.
    assert 0.95 * 16 * 4 * 128**2 < counts.sum().item() <= 16 * 4 * 128**2
    assert (model.scale_tables.tables.frequencies != before).any()
    assert torch.equal(trainer.ema.model.scale_tables.counts, counts)  # type: ignore[union-attr]


REPLAYED = (*SMALL_CODEC, "trainer.replay=true")


@pytest.mark.parametrize(
    "more", [(), SMALL_CODEC, REPLAYED], ids=["autoencoder", "codec", "replayed"]
)
def test_a_run_that_is_cut_ends_as_an_uncut_one(more: tuple[str, ...], tmp_path: Path) -> None:
    settings = ("trainer.epochs=3", "trainer.ema_decay=0.9", "cuts=1", "hydra.run.dir=run")
    code, said = program(tmp_path, "sar_codec.verify_resume", *SMALL, *more, *settings)
    assert (code, "Equal: " in said) == (0, True), said


def test_one_process_of_torchrun_trains_by_nccl(tmp_path: Path) -> None:
    run = ("--nproc_per_node=1", "-m", "sar_codec.train", *SMALL, "trainer=smoke")
    code, said = program(tmp_path, "torch.distributed.run", *run, "hydra.run.dir=run")
    assert code == 0, said
    log = (tmp_path / "run" / "training.log").read_text()
    assert re.search(r"Device: NVIDIA .*, precision bfloat16", log)
    assert re.search(r"GPU allocated [\d.]+ GB; GPU reserved [\d.]+ GB; GPU peak", log)


def program(folder: Path, *module_and_arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", *module_and_arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr
