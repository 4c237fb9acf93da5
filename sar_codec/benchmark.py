"""What the Trainer costs over a bare loop, and bf16 gains: `python -m sar_codec.benchmark`."""

import itertools
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from annotated_types import Ge
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from sar_codec.config import Experiment, build, check, plain, top_level
from sar_codec.errors import UserError
from sar_codec.program import program

log = logging.getLogger(__name__)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Benchmark(Experiment):
    """The top of benchmark.yaml: an experiment, and how much of it to time."""

    rounds: Annotated[int, Ge(1)]
    train_batches: Annotated[int, Ge(1)]
    val_batches: Annotated[int, Ge(1)]


@program("benchmark")
def main(cfg: DictConfig) -> float:
    """Times epochs of each contestant in turn; returns the Trainer's speed over the bare loop's."""
    import torch

    from sar_codec.training.bare_loop import bare_epoch
    from sar_codec.training.device import pick_device, pick_precision
    from sar_codec.training.trainer import Trainer

    settings = top_level(plain(cfg), Benchmark)
    if settings.resume is not None:
        raise UserError(f"resume={settings.resume}: a benchmark starts from nothing, leave it out")
    # Batches are drawn beforehand, and all contestants see all of them.
    loop = settings.trainer | {"limit_batches": None}
    check(loop, "trainer", Trainer.train)
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    data = build(settings.data, "data", seed=settings.seed)
    loaders = {
        "train_loader": drawn(data.train, settings.train_batches),
        "val_loader": drawn(data.val, settings.val_batches),
    }
    data.close()

    def parts() -> dict[str, Any]:
        torch.manual_seed(settings.seed)
        model = build(settings.model, "model")
        optimizer = build(settings.optimizer, "optimizer", params=model.parameters())
        return {"model": model, "optimizer": optimizer, "loss_fn": build(settings.loss, "loss")}

    trainer = build(
        loop,
        "trainer",
        Trainer.train,
        **parts(),
        **loaders,
        run_dir=run_dir,
        preprocessing_params=data.preprocessing_params,
        device=pick_device(settings.device),
    )

    def bare(dtype: torch.dtype) -> Callable[[], float]:
        compile = loop.get("compile", False)
        return bare_epoch(
            **parts(),
            train_loader=loaders["train_loader"],
            val_loader=loaders["val_loader"],
            device=trainer.device,
            max_grad_norm=trainer.max_grad_norm,
            dtype=dtype,
            compile=compile,
        )

    contestants: dict[str, Callable[[], object]] = {
        "bare loop": bare(trainer.dtype),
        "Trainer": lambda: trainer.train(trainer.epoch + 1, early_stopping_patience=10**9),
        "bare loop, fp32": bare(pick_precision("fp32", trainer.device)),
    }
    images = sum(len(batch) for batches in loaders.values() for batch in batches)
    seconds = timed_in_turn(contestants, settings.rounds)
    return report(seconds, images, run_dir)


def drawn(loader: Any, count: int) -> list[Any]:
    """So many batches, of several epochs where one has fewer."""
    batches: list[Any] = []
    while len(batches) < count:
        loader.set_epoch(len(batches))
        batches += itertools.islice(loader, count - len(batches))
    return batches


def timed_in_turn(
    contestants: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each run of each contestant, A B C A B C ..., after a first round uncounted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def report(seconds: Mapping[str, Sequence[float]], images: int, run_dir: Path) -> float:
    """Logs a table, writes benchmark.json; returns the Trainer's speed over the bare loop's.

    A ratio is the median of ratios within a round, so that it holds while the machine's speed
    drifts.
    """
    base = seconds["bare loop"]
    ratios = {
        name: median(mine / other for mine, other in zip(base, each, strict=True))
        for name, each in seconds.items()
    }
    log.info("%-16s %10s %10s", "", "images/s", "ratio")
    for name, each in seconds.items():
        log.info("%-16s %10.1f %10.3f", name, images / median(each), ratios[name])
    table = {
        name: {"images_per_second": images / median(each), "ratio": ratios[name]}
        for name, each in seconds.items()
    }
    (run_dir / "benchmark.json").write_text(json.dumps(table, indent=2) + "\n")
    return ratios["Trainer"]


if __name__ == "__main__":
    main()
