"""Trains a model: `python -m sar_codec.train trainer.epochs=200 optimizer.lr=1e-4`."""

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from sar_codec.config import Experiment, arguments, build, check, plain, top_level
from sar_codec.errors import UserError
from sar_codec.program import program

log = logging.getLogger(__name__)


@program("train")
def main(cfg: DictConfig) -> float:
    """Runs one experiment; returns its best validation loss, for sweepers to minimise."""
    # Here, not at the top: --help and shell completion need not wait for torch.
    import torch

    from sar_codec.training import checkpoint
    from sar_codec.training.device import pick_device
    from sar_codec.training.resuming import find_checkpoint
    from sar_codec.training.trainer import Trainer

    config = plain(cfg)
    experiment = top_level(config, Experiment)
    check(experiment.data, "data")
    check(experiment.loss, "loss")
    schedule = arguments(experiment.trainer, "trainer", Trainer.train, Trainer)
    check(experiment.trainer, "trainer", Trainer.train)
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    resume = None if experiment.resume is None else find_checkpoint(experiment.resume)
    if resume is not None:
        checkpoint.load(resume)  # a wrong path is told before the data is looked at
    elif (run_dir / "checkpoints").exists():
        raise UserError(
            f"{run_dir}: holds a run already; give another folder, or go on with it by "
            f"resume={run_dir / 'checkpoints' / 'latest.pth'}"
        )

    log.info("Config:\n%s", OmegaConf.to_yaml(cfg, resolve=True))
    torch.manual_seed(experiment.seed)
    model = build(experiment.model, "model")
    optimizer = build(experiment.optimizer, "optimizer", params=model.parameters())
    data = build(experiment.data, "data", seed=experiment.seed)
    log.info("Data: %s", data.summary)
    trainer = build(
        experiment.trainer,
        "trainer",
        Trainer.train,
        model=model,
        train_loader=data.train,
        val_loader=data.val,
        loss_fn=build(experiment.loss, "loss"),
        optimizer=optimizer,
        run_dir=run_dir,
        preprocessing_params=data.preprocessing_params,
        config=config,
        device=pick_device(experiment.device),
    )
    if resume is not None:
        trainer.load_checkpoint(resume)
    trainer.train(**schedule)
    log.info("Run: %s", run_dir)
    log.info("To look at it: tensorboard --logdir %s", run_dir)
    return trainer.best_val_loss


if __name__ == "__main__":
    main()
