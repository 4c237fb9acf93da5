"""environment.json: what a run ran on."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from sar_codec.files import keep_aside, write_whole

_JOB_IDS = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "PBS_JOBID", "LSB_JOBID")


def record_environment(
    run_dir: Path, device: torch.device, made_with: Mapping[str, str | int]
) -> None:
    """Writes `environment.json`; one that a run left here before it was cut is kept beside it.

    Args:
        run_dir: the folder of the run.
        device: that it trains on.
        made_with: what the last bits of its results depend on.

    Raises:
        UserError: it cannot be written.
    """
    path = run_dir / "environment.json"
    keep_aside(path)
    text = json.dumps(dict(made_with) | environment(device), indent=2)
    write_whole(path, [f"{text}\n".encode()])


def environment(device: torch.device) -> dict[str, Any]:
    """Packages, code, machine and command; the values are numbers, strings, lists, dicts."""
    on_gpu = device.type == "cuda"
    return {
        "device_name": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "gpus": torch.cuda.device_count(),
        "cuda": torch.version.cuda if on_gpu else None,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "cores": _cores(),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "git": git_state(Path(__file__).resolve()),
        "command": sys.argv,
        "folder": os.getcwd(),
        "scheduler": {name: os.environ[name] for name in _JOB_IDS if name in os.environ},
    }


def package_versions() -> dict[str, str]:
    """The installed version of this package and of each that it requires."""
    try:
        required = metadata.requires("sar_codec") or []
    except metadata.PackageNotFoundError:  # run from its sources
        required = ["torch", "torchvision", "numpy", "hydra-core", "omegaconf", "rasterio"]
    names = [re.split(r"[^\w.-]", each)[0] for each in required]
    versions = {name: _version(name) for name in ["sar_codec", *names]}
    # Not those of extras that are not installed.
    return {name: version for name, version in versions.items() if version}


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_state(file: Path) -> dict[str, Any] | None:
    """The commit of the checkout that a file is part of, and whether files differ from it.

    None where it is part of none.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)  # not what lies in another's checkout
        # Untracked files count: a new model is one.
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _cores() -> int | None:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor()
