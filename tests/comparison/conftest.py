"""Folders of runs, made up."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes a run's folder below the test's own, of what is given; nothing else is in it."""

    def make(
        name: str = "run",
        losses: Sequence[object] | None = None,
        *,
        overrides: Sequence[str] | None = None,
        status: str | None = "finished",
        reason: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Path:
        folder = tmp_path / name
        (folder / ".hydra").mkdir(parents=True)
        if status is not None:
            told = {"status": status, "reason": reason}
            given = {} if overrides is None else {"overrides": list(overrides)}
            (folder / "status.json").write_text(json.dumps(told | given))
        if config is not None:
            (folder / ".hydra" / "config.yaml").write_text(
                yaml.safe_dump(dict(config), sort_keys=False)
            )
        if losses is not None:
            rows = [f"{i},{loss},{20 + i}.5,0.{i},2.5\r\n" for i, loss in enumerate(losses, 1)]
            header = "epoch,val_loss,val_psnr,val_ssim,seconds\r\n"
            (folder / "history.csv").write_text(header + "".join(rows), newline="")
        return folder

    return make
