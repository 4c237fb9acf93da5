"""The command line, as people type it."""

import logging
import os
import pty
import re
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sar_codec.train import main

RunProgram = Callable[..., tuple[int, str]]

TINY = (
    "trainer=smoke",
    "device=cpu",
    "data.scenes=3",
    "data.size=64",
    "data.patch_size=32",
    "data.batch_size=2",
    "model.width=8",
    "model.depth=1",
)


def only_run(folder: Path) -> Path:
    (log,) = folder.glob("outputs/*/*/training.log")
    return log.parent


def test_a_run_leaves_what_the_design_says_and_tells_where(
    run_program: RunProgram, tmp_path: Path
) -> None:
    assert run_program(main, *TINY)[0] == 0
    run = only_run(tmp_path)
    assert {path.name for path in run.iterdir()} == {
        ".hydra",
        "training.log",
        "tensorboard",
        "history.csv",
        "checkpoints",
        "status.json",
        "environment.json",
    }
    assert sorted(os.listdir(run / "checkpoints")) == ["best.pth", "latest.pth", "previous.pth"]
    log = (run / "training.log").read_text()
    for part in (
        "latent_channels: 16",
        "Data: 2 images for training",
        "Model: SARAutoencoder, ",
        "Device: CPU, ",
        "precision ",
        "Epoch 1/2: train loss ",
        "Epoch 2/2: ",
        "learning rate 0.0001",
        "images_per_second",
        "2 of 2 epochs done; best validation loss ",
        f"Run: {run}",
        f"tensorboard --logdir {run}",
    ):
        assert part in log, part
    saved = torch.load(run / "checkpoints" / "latest.pth")
    assert saved["config"]["trainer"]["epochs"] == 2
    assert saved["preprocessing_params"]["quantity"] == "power"


@pytest.mark.parametrize(
    ("override", "key", "given", "allowed"),
    [
        ("trainer.epoks=3", "trainer.epoks", "3", "did you mean trainer.epochs"),
        ("trainer.epochs=many", "trainer.epochs", "many", "integer"),
        ("trainer.epochs=0", "trainer.epochs", "0", "greater than or equal to 1"),
        ("optimizer.lr=-1", "optimizer.lr", "-1", "greater than 0"),
        ("optimizer.betas=[0.9,1.5]", "optimizer.betas.1", "1.5", "less than 1"),
        ("trainer.lr_factor=2", "trainer.lr_factor", "2", "less than 1"),
        ("trainer.precision=fp8", "trainer.precision", "fp8", "'auto', 'fp32' or 'bf16'"),
        ("model=resnet", "model", "resnet", "autoencoder"),
        ("model.latent_channels=0", "model.latent_channels", "0", "greater than or equal to 1"),
        ("+trainer.foo=1", "trainer.foo", "1", "no such key; trainer has epochs"),
        ("foo=1", "foo", "1", "no such key; there are data"),
        ("+foo=1", "foo", "1", "no such key; there are data"),
        ("device=tpu", "device", "tpu", "cuda"),
        ("device=cuda:9", "device", "cuda:9", "device=cpu"),
        ("seed=-1", "seed", "-1", "greater than or equal to 0"),
        ("resume=missing/latest.pth", "", "missing/latest.pth", "no such file"),
        ("resume=runs/lr=0.1/latest.pth", "resume", "runs/lr=0.1", "quotes inside quotes"),
        ("model._target_=os.system", "model._target_", "os.system", "not allowed"),
        ("hydra.run.dir=/dev/null/x", "", "/dev/null/x", "hydra.run.dir=FOLDER"),
        ("data.vmin=20", "data.vmin", "20", "vmin below vmax"),
        ("data.vmin=-inf", "data.vmin", "-inf", "vmin below vmax"),
        ("data.looks=0.7", "data.looks", "0.7", "multiple of 0.5"),
        ("seed=18446744073709551616", "seed", "18446744073709551616", "less than"),
        ("optimizer.lr=inf", "optimizer.lr", "inf", "less than"),
        ("model.width=100000000", "model.width", "100000000", "4096"),
        ("model=null", "", "", "Config group"),
        ("model.width=${nope}", "", "nope", "not found"),
        ("resume=", "", "", "no such file"),
        ("resume=last", "resume", "last", "has a checkpoint yet"),
        ("resume=/", "resume", "/", "without checkpoints/latest.pth"),
    ],
)
def test_a_wrong_override_is_one_line_and_leaves_no_results(
    run_program: RunProgram, tmp_path: Path, override: str, key: str, given: str, allowed: str
) -> None:
    code, message = run_program(main, *TINY, override)
    assert code == 1
    assert message.startswith("error: ")
    assert "\n" not in message
    for part in (key, given, allowed):
        assert part in message
    assert not list(tmp_path.rglob("*.pth"))
    assert not list(tmp_path.rglob("tensorboard"))
    for log in tmp_path.rglob("training.log"):
        assert "Traceback" not in log.read_text()


def test_bad_data_is_told_on_the_screen_and_in_the_log(
    run_program: RunProgram, tmp_path: Path
) -> None:
    assert run_program(main, "data=raster")[1].startswith("error: data.root is not set")
    code, message = run_program(main, "data=raster", "data.root=nowhere", "hydra.run.dir=run")
    assert (code, message[:24]) == (1, "error: nowhere: no such ")
    assert "[ERROR] nowhere: no such folder" in (tmp_path / "run" / "training.log").read_text()


def test_a_defect_keeps_its_traceback_on_the_screen_and_in_the_log(
    run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sar_codec.training.trainer import Trainer

    def defect(self: Trainer) -> None:
        raise ZeroDivisionError("our fault")

    monkeypatch.setattr(Trainer, "train_epoch", defect)
    with pytest.raises(ZeroDivisionError):
        run_program(main, *TINY, "hydra.run.dir=run")
    assert "ZeroDivisionError: our fault" in (tmp_path / "run" / "training.log").read_text()


@pytest.mark.parametrize("key", ["resume", "+resume"])
def test_resuming(run_program: RunProgram, tmp_path: Path, key: str) -> None:
    assert run_program(main, *TINY, "hydra.run.dir=first")[0] == 0
    resume = f"{key}=first/checkpoints/latest.pth"
    assert run_program(main, *TINY, resume, "trainer.epochs=3", "hydra.run.dir=second")[0] == 0
    assert torch.load(tmp_path / "second" / "checkpoints" / "latest.pth")["epoch"] == 3
    log = (tmp_path / "second" / "training.log").read_text()
    assert "Resumed from first/checkpoints/latest.pth after epoch 2" in log
    assert "Epoch 2/3" not in log
    assert run_program(main, *TINY, resume, "hydra.run.dir=third")[0] == 0
    log = (tmp_path / "third" / "training.log").read_text()
    assert "Nothing left to train: 2 of 2 epochs done" in log


@pytest.mark.parametrize("meaning", ["outputs/second", "last"])
def test_resuming_a_run_or_the_newest_one(
    run_program: RunProgram, tmp_path: Path, meaning: str
) -> None:
    for name in ("first", "second", "benchmark/later", "verify_resume/later/cut"):
        assert run_program(main, *TINY, f"hydra.run.dir=outputs/{name}")[0] == 0
    more = ["trainer.epochs=3", "hydra.run.dir=outputs/a_third"]
    assert run_program(main, *TINY, f"resume={meaning}", *more)[0] == 0
    log = (tmp_path / "outputs" / "a_third" / "training.log").read_text()
    assert "Resumed from outputs/second/checkpoints/latest.pth after epoch 2" in log


def test_a_path_with_equals_signs_and_spaces_in_inner_quotes(
    run_program: RunProgram, tmp_path: Path
) -> None:
    assert run_program(main, *TINY, 'hydra.run.dir="runs/lr=0.1, a b"')[0] == 0
    resume = 'resume="runs/lr=0.1, a b/checkpoints/latest.pth"'
    assert run_program(main, *TINY, resume, "hydra.run.dir=next")[0] == 0


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign", "other architecture"])
def test_a_bad_checkpoint_is_one_line(run_program: RunProgram, tmp_path: Path, damage: str) -> None:
    assert run_program(main, *TINY, "hydra.run.dir=first")[0] == 0
    path = tmp_path / "first" / "checkpoints" / "best.pth"
    more = []
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "foreign":
        path.write_text("[this is] no = checkpoint")
    else:
        more = ["model.latent_channels=8"]
    code, message = run_program(
        main, *TINY, f"resume={path}", *more, "hydra.run.dir=second", "trainer.epochs=3"
    )
    assert code == 1
    assert str(path) in message
    assert "\n" not in message
    assert sorted(os.listdir(tmp_path / "second")) == [".hydra", "status.json", "training.log"]


def test_a_folder_that_holds_a_run_is_not_trained_over(
    run_program: RunProgram, tmp_path: Path
) -> None:
    assert run_program(main, *TINY, "hydra.run.dir=run")[0] == 0
    code, message = run_program(main, *TINY, "hydra.run.dir=run")
    assert code == 1
    assert "holds a run already" in message
    resume = "resume=run/checkpoints/latest.pth"
    assert run_program(main, *TINY, resume, "trainer.epochs=3", "hydra.run.dir=run")[0] == 0


def test_main_gives_the_best_validation_loss_to_sweepers(
    run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra.core import utils

    returned: list[utils.JobReturn] = []
    run_job = utils.run_job
    monkeypatch.setattr(
        "hydra._internal.hydra.run_job",
        lambda *args, **kwargs: returned.append(run_job(*args, **kwargs)) or returned[-1],
    )
    assert run_program(main, *TINY, "hydra.run.dir=run")[0] == 0
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.pth")["best_val_loss"]
    assert returned[0].return_value == best


def test_optimizer_and_model_settings_arrive(run_program: RunProgram, tmp_path: Path) -> None:
    overrides = ["optimizer=adamw", "optimizer.lr=2e-3", "model.latent_channels=32"]
    assert run_program(main, *TINY, *overrides, "hydra.run.dir=run")[0] == 0
    saved = torch.load(tmp_path / "run" / "checkpoints" / "latest.pth")
    assert saved["optimizer_state_dict"]["param_groups"][0]["lr"] == 2e-3
    assert saved["optimizer_state_dict"]["param_groups"][0]["weight_decay"] == 0.01
    assert saved["model_state_dict"]["analyse_block.weight"].shape[0] == 32


def typed(
    folder: Path, *arguments: str, program: str = "train"
) -> subprocess.CompletedProcess[str]:
    """A command in a new process, in a folder, as a user types it."""
    return subprocess.run(
        [sys.executable, "-m", f"sar_codec.{program}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_from_another_folder_without_a_terminal(tmp_path: Path) -> None:
    began = time.time()
    done = typed(tmp_path, *TINY)
    assert done.returncode == 0
    assert done.stderr == "", "bars and warnings belong on no log"
    first = re.search(r"\[(.*?)\]\[INFO\] Epoch 1/2", done.stdout)
    assert first
    first_epoch = time.mktime(time.strptime(first[1], "%Y-%m-%d %H:%M:%S"))
    assert first_epoch - began < 20, "10 s on an idle machine"


@pytest.mark.parametrize("arguments", [("--help",), ("--cfg", "job")])
def test_help_and_config_are_quick(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    began = time.perf_counter()
    done = typed(tmp_path, *arguments)
    assert time.perf_counter() - began < 6, "3 s on an idle machine"
    assert done.returncode == 0
    assert "lr_patience" in done.stdout
    assert not list(tmp_path.iterdir())
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, sar_codec.train; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert imported.stdout == "False\n"


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "sar_codec.train", "--help"],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """What a command draws on a terminal of 120 columns."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, 120))
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=slave, stderr=slave)
    os.close(slave)
    screen = b""
    while True:
        try:
            screen += os.read(master, 65536)
        except OSError:  # the last process that could write has ended
            break
    assert process.wait() == 0, screen.decode()
    return screen.decode()


def test_on_a_terminal_there_are_bars(tmp_path: Path) -> None:
    screen = on_a_terminal(tmp_path, "-m", "sar_codec.train", *TINY)
    assert "Epoch 1 [Train]" in screen
    assert "Epoch 2 [Val]" in screen


def test_log_lines_do_not_tear_the_bar(tmp_path: Path) -> None:
    (tmp_path / "talks.py").write_text(
        """
import logging, sys, time, torch
from sar_codec.losses import CombinedLoss
from sar_codec.models.autoencoder import SARAutoencoder
from sar_codec.training.trainer import Trainer
logging.basicConfig(level="INFO", format="[%(levelname)s] %(message)s", stream=sys.stdout)
class Talks(list):
    def __iter__(self):
        for x in super().__iter__():
            logging.info("in the middle of the bar")
            time.sleep(0.12)  # longer than between two drawings of the bar
            yield x
loader = Talks([torch.rand(1, 1, 16, 16)] * 5)
Trainer(SARAutoencoder(width=8), loader, loader, CombinedLoss(), device="cpu").train(1)
"""
    )
    screen = on_a_terminal(tmp_path, "talks.py")
    assert "%|" in screen
    lines = [line for line in re.split(r"[\r\n]", screen) if "in the middle" in line]
    assert len(lines) == 14  # training, validation, and the samples of the triple view
    assert all(line.endswith("[INFO] in the middle of the bar") for line in lines), lines
    assert not [line for line in lines if "%|" in line]


def test_logging_is_left_as_it_was_between_jobs(run_program: RunProgram) -> None:
    assert run_program(main, *TINY, "hydra.run.dir=a")[0] == 0
    assert run_program(main, *TINY, "hydra.run.dir=b")[0] == 0
    files = [each for each in logging.getLogger().handlers if isinstance(each, logging.FileHandler)]
    assert len(files) == 1
