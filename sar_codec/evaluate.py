"""Rate and distortion beside those of other codecs: `python -m sar_codec.evaluate`."""

import inspect
import json
import logging
import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Lt, MinLen
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from sar_codec.config import arguments, locate, plain, top_level
from sar_codec.errors import UserError
from sar_codec.files import write_whole
from sar_codec.memory import keep_freed_memory
from sar_codec.program import program

log = logging.getLogger(__name__)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Evaluation:
    """The top of evaluate.yaml."""

    data: dict[str, Any]
    checkpoint: Path | None
    codecs: Annotated[list[str], MinLen(1)]
    anchor: str
    threads: Annotated[int, Ge(1)]
    seed: Annotated[int, Ge(0), Lt(2**63)]


@program("evaluate")
def main(cfg: DictConfig) -> None:
    """Codes all scenes by all codecs, and writes what came of it."""
    # Here, not at the top: --help need not wait for torch.
    import torch

    from sar_codec.evaluation import plots
    from sar_codec.evaluation.contestants import contestants
    from sar_codec.evaluation.measuring import measured
    from sar_codec.evaluation.own import Own
    from sar_codec.evaluation.report import write_report
    from sar_codec.evaluation.results import Results
    from sar_codec.evaluation.rows import write_rows
    from sar_codec.evaluation.scenes import read_scenes

    settings = top_level(plain(cfg), Evaluation)
    keep_freed_memory()  # as the file tool does
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    by_name, missing = contestants(settings.codecs, settings.checkpoint, settings.threads)
    codecs = list(by_name.values())
    if settings.anchor not in by_name:
        why = next((f" ({each})" for each in missing if each.startswith(f"{settings.anchor}:")), "")
        raise UserError(
            f"anchor={settings.anchor}: is none of {', '.join(by_name)}, which are compared{why}; "
            "give one of these"
        )
    bands = bands_of(settings.data)
    models = {codec.model for codec in codecs if isinstance(codec, Own)}
    seen = seen_in_training(models, bands)
    if seen:
        log.warning(
            "%d of %d bands are of folders that the model was trained on, so that figures of "
            "them tell nothing of other scenes: %s",
            *(len(seen), len(bands), ", ".join(seen)),
        )
    scenes = read_scenes(bands)
    torch.set_num_threads(settings.threads)
    rows = list(measured(scenes, codecs))
    write_rows(rows, run_dir / "metrics.csv")

    anchor = by_name[settings.anchor].name
    results = Results.of(rows, anchor, len(scenes), settings.seed)
    about: dict[str, Any] = {
        "program": f"sar_codec {version('sar_codec')}",
        "anchor": anchor,
        "threads": settings.threads,
        "abouts": {codec.name: codec.about for codec in codecs},
        "left_out": missing,
        "seen_in_training": seen,
        "windows_db": {f"{s.name} {s.band}": (s.low_db, s.high_db) for s in scenes},
    }
    write_whole(run_dir / "summary.json", [as_json(about | results.as_json())])
    tables = results.as_markdown()
    write_whole(run_dir / "table.md", [tables.encode()])
    curves = plots.pngs(rows, anchor)
    for name, png in curves.items():
        write_whole(run_dir / f"{name}.png", [png])
    log.info("%d bands, %d files:\n%s", len(scenes), len(rows), tables)
    log.info("Coding some again, for the report")
    report = run_dir / "report.html"
    write_report(report, scenes, codecs, results, curves, missing, seen, about["program"])
    log.info("The report is %s", report)


def as_json(values: dict[str, Any]) -> bytes:
    """A JSON file, null for what is no number or infinite, which JSON does not know."""
    known = json.loads(json.dumps(values), parse_constant=lambda _: None)
    return (json.dumps(known, indent=2, allow_nan=False) + "\n").encode()


def bands_of(data: dict[str, Any]) -> list[Any]:
    """The bands that a config's `data` names.

    Raises:
        UserError: it names none, or synthetic scenes.
    """
    from sar_codec.data import sources

    if locate(data.get("_target_"), "data") is not sources.raster:
        raise UserError(
            "data=synthetic: figures are of real scenes; give data=raster data.root=FOLDER"
        )
    given = arguments(data, "data", sources.raster)
    wanted = inspect.signature(sources.reported_bands).parameters
    return sources.reported_bands(**{name: given[name] for name in wanted if name in given})


def seen_in_training(models: Iterable[Path], bands: Sequence[Any]) -> list[str]:
    """The names of bands that lie in folders which a model says it was trained on.

    Args:
        models: checkpoints or weights.
        bands: of files.
    """
    from sar_codec.trained import load

    sources = [each for model in models for each in load(model).preprocessing.get("sources", [])]
    folders = {os.path.normpath(each["root"]) for each in sources if not each["val"]}
    return [
        band.name
        for band in bands
        for path in [os.path.abspath(band.path)]
        if any(fnmatch(path, os.path.join("*", each, "*")) for each in folders)
        or any(path.startswith(os.path.join(os.path.abspath(each), "")) for each in folders)
    ]


if __name__ == "__main__":
    main()
