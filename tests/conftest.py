"""What tests of several folders need."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch  # else in functions: pytest's own process, which runs no tests, does without

# One thread a process, of the tests and of what they start: with images as small as theirs, each of
# several threads mostly waits for the others, and tests run side by side.
os.environ["OMP_NUM_THREADS"] = "1"
# Processes that are started begin sooner where the package's modules need not be compiled anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that begin first: one compiles loops that many others then find compiled, and those that
# take longest would run alone at the end.
FIRST = (
    *("test_damaged_images.py", "test_resume.py", "test_sweep.py", "test_trust.py"),
    *("test_train.py", "test_torchrun.py"),
)
gc.disable()  # until tests are collected: there is nothing to find
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One more than there are cores: many tests wait for processes that they started."""
    return (yield) + ("PYTEST_XDIST_AUTO_NUM_WORKERS" not in os.environ)


def pytest_collection_finish() -> None:
    """What is imported by now stays: no search for garbage need go through it again."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    items.sort(key=lambda item: [*FIRST, item.path.name].index(item.path.name))
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real images beside the checkout; skips where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("there are no real images in ../shared/data")
    return SHARED_DATA


@contextmanager
def logging_as_it_was() -> Iterator[None]:
    """Hydra configures the root logger of the process; tests must not see each other's."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def logging_of_a_test() -> Iterator[None]:
    with logging_as_it_was():
        yield


@pytest.fixture(autouse=True, scope="module")
def logging_of_a_module() -> Iterator[None]:
    """That of runs which all tests of a module share."""
    with logging_as_it_was():
        yield


@pytest.fixture
def run_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs a program's `main` in this process, in an empty folder, as if typed with arguments.

    Gives its exit code and what it said on stderr.
    """
    monkeypatch.chdir(tmp_path)
    # Which composes all of a config once more, to look for a `hydra.mode` that no test gives.
    monkeypatch.setattr("hydra._internal.hydra.Hydra.get_mode", lambda *_, **__: None)

    def run(main: Callable[[], None], *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        monkeypatch.setitem(os.environ, "HYDRA_FULL_ERROR", "")
        try:
            main()
        except SystemExit as stop:
            if isinstance(stop.code, str):  # what python prints before it exits with 1
                return 1, stop.code
            return int(stop.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of weights of untrained networks, by their kind; see `tiny_networks`."""
    from tiny_networks import CONFIGS, write_weights

    folder = tmp_path_factory.mktemp("weights")
    return {kind: write_weights(folder / f"{kind}.safetensors", kind) for kind in CONFIGS}


@pytest.fixture
def smooth_images() -> "list[torch.Tensor]":
    """Three batches, 4 + 4 + 1 images of 48x48 in [0, 1], that an autoencoder can learn."""
    import torch

    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(9, 1, 6, 6, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (48, 48), mode="bilinear")
    return list(images.split(4))
