"""Trains a model: `python -m sar_codec.train trainer.epochs=200 optimizer.lr=1e-4`."""

import logging
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import MISSING, DictConfig, OmegaConf

from sar_codec import processes
from sar_codec.config import Experiment, arguments, build, check, plain, target_of, top_level
from sar_codec.errors import UserError
from sar_codec.files import write_whole
from sar_codec.program import program
from sar_codec.run_lock import is_inside, refuse_to_train_over

log = logging.getLogger(__name__)


@program("train")
def main(cfg: DictConfig) -> float:
    """Runs one experiment; returns its best validation loss, for sweepers to minimise."""
    # Here, not at the top: --help and shell completion need not wait for torch.
    from sar_codec.training import checkpoint
    from sar_codec.training.device import pick_device
    from sar_codec.training.random_states import seed_all
    from sar_codec.training.resuming import check_can_go_on, find_checkpoint, lay_over
    from sar_codec.training.trainer import Trainer

    together = processes.group()
    config = plain(cfg)
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    wanted = top_level(config, Experiment).resume
    resume = None if wanted is None else find_checkpoint(wanted, run_dir)
    if together.is_first and (resume is None or not is_inside(resume, run_dir)):
        refuse_to_train_over(run_dir)
    if resume is not None:
        state, resume = checkpoint.load_or_previous(resume)
        config = lay_over(state.config, config, *given_now(config))
        check_can_go_on(resume, state, config)
        record(config)
    experiment = top_level(config, Experiment)
    hparams = {key: hparam(key, config, plain(cfg)) for key in experiment.hparams}
    check(experiment.data, "data")
    check(experiment.loss, "loss")
    schedule = arguments(experiment.trainer, "trainer", Trainer.train, Trainer)
    check(experiment.trainer, "trainer", Trainer.train)

    log.info("Config:\n%s", OmegaConf.to_yaml(config))
    seed_all(experiment.seed)
    model = build(experiment.model, "model")
    if experiment.weights is not None and resume is None:
        begin_with(model, experiment.weights)
    if experiment.train_only is not None:
        leave_all_but(experiment.train_only, model)
        if experiment.weights is None and resume is None:
            raise UserError(
                f"train_only={experiment.train_only}: the other parts would stay untrained; give "
                "weights=FILE to begin with"
            )
    if not together.is_first:  # the same weights, other draws
        seed_all(experiment.seed + together.rank)
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
        hparams=hparams,
        device=pick_device(experiment.device),
    )
    if resume is not None:
        trainer.load_checkpoint(resume)
    try:
        trainer.train(**schedule)
    finally:
        data.close()
    log.info("Run: %s", run_dir)
    log.info("To look at it: tensorboard --logdir %s", run_dir)
    return trainer.best_val_loss


def begin_with(model: Any, path: str) -> None:
    """Gives a model the weights of a checkpoint or a `.safetensors` file.

    What begins as the identity, the model's `optional_part`, may be new, or left out.
    """
    from sar_codec.trained import load
    from sar_codec.training.restoring import check_same_architecture

    tensors, own = load(path).tensors, model.state_dict()
    part = getattr(model, "optional_part", None)
    saved_part, own_part = (
        {name: each for name, each in some.items() if part and name.startswith(f"{part}.")}
        for some in (tensors, own)
    )
    said = ""
    if own_part and not saved_part:
        tensors, said = tensors | own_part, f"; {part} is new"
    elif saved_part and not own_part:
        tensors = {name: each for name, each in tensors.items() if name not in saved_part}
        said = f"; {part} is left out"
    check_same_architecture(path, tensors, own)
    model.load_state_dict(tensors)
    log.info("Weights of %s to begin with%s", path, said)


def leave_all_but(part: str, model: Any) -> None:
    """Leaves all of a model as it is in training but for one part.

    Modules with an attribute `learns`, which learn without gradients, are told by it.

    Args:
        part: dotted, as `named_modules` has it.
        model: a module.

    Raises:
        UserError: the model has no such part, or it has no weights.
    """
    modules = dict(model.named_modules())
    if not part or part not in modules or next(modules[part].parameters(), None) is None:
        parts = ", ".join(name for name, _ in model.named_children())
        raise UserError(
            f"train_only={part}: no part of a {type(model).__name__} with weights; expected one of "
            f"{parts}, or a part of these"
        )
    model.requires_grad_(False)
    modules[part].requires_grad_(True)
    for name, module in modules.items():
        if hasattr(module, "learns"):
            module.learns = f"{name}.".startswith(f"{part}.")
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    log.info("Training only %s, %s parameters", part, f"{trained:,}")


def given_now(config: dict[str, Any]) -> tuple[dict[str, Any], set[str], set[str]]:
    """What this command's config would be without its keys and its `experiment`, and what it gives.

    Returns:
        That config, of the same groups; the keys given; the groups that are not the default ones.
    """
    hydra_config = HydraConfig.get()
    overrides = OverridesParser.create().parse_overrides(list(hydra_config.overrides.task))
    name, choices = hydra_config.job.config_name, hydra_config.runtime.choices
    default = plain(compose(name))
    switched = {
        group
        for group in choices
        if group in default and target_of(config, group) != target_of(default, group)
    }
    others = [f"{group}={choices[group]}" for group in switched]
    base = plain(compose(name, others)) if others else default
    return base, {each.key_or_group for each in overrides}, switched


def hparam(key: str, config: dict[str, Any], given: dict[str, Any]) -> bool | int | float | str:
    """What TensorBoard's HParams page shows of a key: its value, or of a group, which one it is.

    Args:
        key: dotted.
        config: the run's.
        given: this command's, which is another one where a run goes on.

    Raises:
        UserError: there is no such key.
    """
    choices = HydraConfig.get().runtime.choices
    if key in choices and target_of(config, key) == target_of(given, key):
        return str(choices[key])
    if (target := target_of(config, key)) is not None:
        return str(target).rpartition(".")[2]
    value = OmegaConf.select(OmegaConf.create(config), key, default=MISSING)
    if value is MISSING:
        raise UserError(f"hparams: {key} is no key of the config; give keys as optimizer.lr")
    return value if isinstance(value, bool | int | float | str) else str(value)


def record(config: dict[str, Any]) -> None:
    """Writes the config that a resumed run really has over what Hydra took it for."""
    hydra_config = HydraConfig.get()
    if hydra_config.output_subdir is not None:
        folder = Path(hydra_config.runtime.output_dir) / hydra_config.output_subdir
        write_whole(folder / "config.yaml", [OmegaConf.to_yaml(config).encode()])


if __name__ == "__main__":
    main()
