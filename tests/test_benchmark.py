import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sar_codec import benchmark


def test_the_benchmark_times_trainer_and_bare_loop(
    run_program: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    tiny = ["data.scenes=3", "data.size=64", "data.patch_size=32", "model.width=8", "model.depth=1"]
    more = ["rounds=2", "train_batches=2", "val_batches=1", "hydra.run.dir=run"]
    assert run_program(benchmark.main, *tiny, *more)[0] == 0
    table = json.loads((tmp_path / "run" / "benchmark.json").read_text())
    assert table.keys() == {"bare loop", "Trainer", "bare loop, fp32"}
    assert table["bare loop"]["ratio"] == 1
    assert all(row["images_per_second"] > 0 for row in table.values())
    assert "Trainer" in (tmp_path / "run" / "training.log").read_text()


def test_a_ratio_holds_while_the_machine_drifts(tmp_path: Path) -> None:
    drift = [1.0, 3.0, 10.0]
    seconds = {"bare loop": drift, "Trainer": [2 * each for each in drift]}
    assert benchmark.report(seconds, 10, tmp_path) == 0.5


def test_contestants_take_turns_and_the_first_round_is_not_counted() -> None:
    turns: list[str] = []
    contestants = {name: lambda name=name: turns.append(name) for name in "ab"}
    seconds = benchmark.timed_in_turn(contestants, 2)
    assert "".join(turns) == "ababab"
    assert [len(each) for each in seconds.values()] == [2, 2]


@pytest.mark.parametrize("override", ["rounds=0", "train_batches=x", "round=3"])
def test_wrong_settings_are_one_line(
    run_program: Callable[..., tuple[int, str]], override: str
) -> None:
    code, message = run_program(benchmark.main, override)
    assert code == 1
    assert message.startswith("error: " + override.split("=")[0])
    assert "\n" not in message
