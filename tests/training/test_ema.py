"""The moving average of the weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sar_codec.entropy.factorized import FactorizedDensity
from sar_codec.errors import UserError
from sar_codec.losses import CombinedLoss
from sar_codec.models.autoencoder import SARAutoencoder
from sar_codec.training import checkpoint
from sar_codec.training.ema import EMA
from sar_codec.training.trainer import Trainer

GOOD, BAD = torch.tensor(True), torch.tensor(False)


def trainer_for(images: list[Tensor], run_dir: Path, **settings: object) -> Trainer:
    torch.manual_seed(0)
    model = SARAutoencoder(width=8, depth=1)
    fixed = {"run_dir": run_dir, "device": "cpu", "precision": "fp32"}
    return Trainer(model, images, images, CombinedLoss(), **fixed, **settings)  # type: ignore[arg-type]


def test_it_is_the_recursion_that_defines_it() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    linear, norm = model[0], model[1]
    ema = EMA(model, 0.6)
    expected = linear.weight.item()
    for updates, weight in enumerate([3.0, -1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0], 1):
        with torch.no_grad():
            linear.weight.fill_(weight)
            norm.running_mean.fill_(weight)
        ema.update(model, updates, GOOD)
        decay = min(0.6, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay) * weight
        assert ema.model[0].weight.item() == pytest.approx(expected, rel=1e-6)
        assert ema.model[1].running_mean.item() == weight, "statistics are not averaged"


def test_integer_tables_are_those_of_the_averaged_densities() -> None:
    density = FactorizedDensity(3)
    ema = EMA(density, 0.5)
    assert isinstance(ema.model, FactorizedDensity)
    before = ema.model.tables.frequencies.clone()
    with torch.no_grad():
        density.log_scales.add_(2)
    ema.update(density, 100, GOOD)
    expected = FactorizedDensity(3)
    with torch.no_grad():
        expected.log_scales.copy_(ema.model.log_scales)
    assert torch.equal(ema.model.tables.frequencies, expected.tables.frequencies)
    assert not torch.equal(ema.model.tables.frequencies, before)


def test_a_bad_update_does_not_count() -> None:
    model = nn.Linear(2, 2)
    ema = EMA(model, 0.9)
    before = ema.model.weight.clone()
    with torch.no_grad():
        model.weight.add_(1)
    ema.update(model, 1, BAD)
    assert torch.equal(ema.model.weight, before)


def test_it_is_validated_and_saved_beside_the_weights(
    smooth_images: list[Tensor], tmp_path: Path
) -> None:
    trainer = trainer_for(smooth_images, tmp_path, ema_decay=0.9)
    history = trainer.train(2)
    assert {"ema_loss", "ema_psnr", "ema_ssim"} <= history[-1].keys()
    state = checkpoint.load(tmp_path / "checkpoints" / "latest.pth")
    assert state.ema_state_dict is not None
    assert state.ema_state_dict.keys() == state.model_state_dict.keys()
    averaged = SARAutoencoder(width=8, depth=1)
    averaged.load_state_dict(state.ema_state_dict)
    alone = Trainer(
        *(averaged, smooth_images, smooth_images, CombinedLoss()),
        run_dir=tmp_path / "alone",
        device="cpu",
        precision="fp32",
    )
    assert alone.validate()["loss"] == history[-1]["ema_loss"]
    assert history[-1]["ema_loss"] != history[-1]["val_loss"]


def test_it_does_not_change_what_is_trained(smooth_images: list[Tensor], tmp_path: Path) -> None:
    plain = trainer_for(smooth_images, tmp_path / "plain").train(2)
    averaged = trainer_for(smooth_images, tmp_path / "averaged", ema_decay=0.9).train(2)
    for one, other in zip(plain, averaged, strict=True):
        assert {name: one[name] for name in ("train_loss", "val_loss")} == {
            name: other[name] for name in ("train_loss", "val_loss")
        }


def test_one_that_a_checkpoint_has_not_begins_with_its_weights(
    smooth_images: list[Tensor], tmp_path: Path
) -> None:
    trainer_for(smooth_images, tmp_path / "plain").train(1)
    path = tmp_path / "plain" / "checkpoints" / "latest.pth"
    trainer = trainer_for(smooth_images, tmp_path / "averaged", ema_decay=0.9)
    trainer.load_checkpoint(path)
    assert trainer.ema is not None
    for name, weight in checkpoint.load(path).model_state_dict.items():
        assert torch.equal(trainer.ema.model.state_dict()[name], weight)


def test_one_of_another_architecture_is_refused(
    smooth_images: list[Tensor], tmp_path: Path
) -> None:
    trainer = trainer_for(smooth_images, tmp_path, ema_decay=0.9)
    trainer.train(1)
    state = trainer.state()
    state.ema_state_dict = {"w": torch.zeros(1)}
    checkpoint.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match="another architecture"):
        trainer.load_checkpoint(tmp_path / "other.pth")
