"""What the README says of the default experiment, measured: `python -m pytest -m slow`."""

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from sar_codec import metrics
from sar_codec.config import CONF_DIR, build, plain
from sar_codec.train import main


def psnr_of_patch_means() -> float:
    """What predicting the mean of each validation patch of the default experiment gives."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = plain(compose("train"))
    data = build(config["data"], "data", seed=config["seed"])
    values = [metrics.psnr(x.mean((1, 2, 3), keepdim=True).expand_as(x), x) for x in data.val]
    return float(torch.cat(values).mean())


@pytest.fixture
def all_cores() -> Iterator[None]:
    """As a user has it, unlike in the other tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_it_beats_the_mean_by_3_db_in_5_minutes_and_bf16_costs_less_than_a_tenth(
    run_program: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    final = {}
    for precision in ("auto", "fp32"):
        run = [f"trainer.precision={precision}", f"hydra.run.dir={precision}"]
        assert run_program(main, *run)[0] == 0
        with (tmp_path / precision / "history.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        final[precision] = float(rows[-1]["val_psnr"])
        if precision == "auto":
            assert sum(float(row["seconds"]) for row in rows) < 300
    baseline = psnr_of_patch_means()
    print(f"validation PSNR {final}, predicting each patch's mean {baseline:.2f}")
    assert final["auto"] > baseline + 3
    assert final["auto"] == pytest.approx(final["fp32"], abs=0.1)
