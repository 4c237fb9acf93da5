"""What a run ran on."""

import json
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch

from sar_codec.train import main
from sar_codec.training.environment import environment, git_state, package_versions

RunProgram = Callable[..., tuple[int, str]]


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_told_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text("width = 8\n")
    assert git_state(model) is None
    git(tmp_path, "init")
    assert git_state(model) is None, "it lies in a checkout that is not its own"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "Add a model")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(model) == {"commit": commit, "dirty": False}
    model.write_text("width = 9\n")
    assert git_state(model) == {"commit": commit, "dirty": True}
    git(tmp_path, "checkout", ".")
    (tmp_path / "another_model.py").touch()
    assert git_state(model) == {"commit": commit, "dirty": True}


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(Path(__file__)) is None


def test_versions_are_those_of_what_the_project_names() -> None:
    versions = package_versions()
    assert versions["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert {"sar_codec", "torchvision", "hydra-core", "rasterio", "numpy"} <= versions.keys()


def test_a_run_from_sources_alone_tells_versions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert "torch" in package_versions()


def test_it_can_be_written_as_json() -> None:
    told = json.loads(json.dumps(environment(torch.device("cpu"))))
    assert told["device_name"]
    assert told["cores"] >= 1


def test_each_start_of_a_run_leaves_its_own(run_program: RunProgram, tmp_path: Path) -> None:
    tiny = ["trainer=smoke", "device=cpu", "data.scenes=3", "data.size=64", "data.patch_size=32"]
    run = ["data.batch_size=2", "model.width=8", "hydra.run.dir=run", "resume=auto"]
    for epochs in (1, 2):
        assert run_program(main, *tiny, *run, f"trainer.epochs={epochs}")[0] == 0
    for name, epochs in (("environment.json.1", 1), ("environment.json", 2)):
        told = json.loads((tmp_path / "run" / name).read_text())
        assert f"trainer.epochs={epochs}" in told["command"]
        assert told["threads"] == torch.get_num_threads()
        assert told["device"] == "cpu"
        assert told["processes"] == 1
