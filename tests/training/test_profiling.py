"""Traces of a few steps."""

import json
from pathlib import Path

import pytest
import torch

from sar_codec.training.profiling import TRACED, WAIT, profiled

CPU = torch.device("cpu")


def work(run_dir: Path, steps: int) -> list[Path]:
    with profiled(run_dir, CPU) as step:
        for _ in range(steps):
            torch.ones(8, 8) @ torch.ones(8, 8)
            step()
    return sorted((run_dir / "profile").glob("*.pt.trace.json"))


@pytest.mark.parametrize("steps", [WAIT + 1, WAIT + TRACED, 20])
def test_steps_after_the_first_are_traced(
    tmp_path: Path, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where there are fewer than it would trace, and never more."""
    caplog.set_level("INFO")
    (path,) = work(tmp_path, steps)
    events = json.loads(path.read_text())["traceEvents"]  # what Perfetto reads
    products = [each for each in events if each.get("name") == "aten::mm"]
    assert len(products) == min(steps - WAIT, TRACED)
    assert f"Traced {len(products)} steps into {tmp_path / 'profile'}" in caplog.text
    assert "aten::mm" in caplog.text


@pytest.mark.parametrize("steps", [0, 1, WAIT])
def test_too_few_steps_are_told(
    tmp_path: Path, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert work(tmp_path, steps) == []
    assert "Nothing was traced: it takes more than 2 steps" in caplog.text


def test_a_trace_that_cannot_be_written_ends_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "profile").touch()
    assert work(tmp_path, 20) == []
    assert "the trace cannot be written" in caplog.text
