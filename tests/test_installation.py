"""The project as a whole: its style, its types, its wheel, the packages it stands on."""

import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import requires, version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "command", ["ruff check", "ruff format --check", "mypy"], ids=["lint", "format", "types"]
)
def test_the_code_is_clean(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_torch_and_torchvision_are_a_pair() -> None:
    import torch
    from torchvision.ops import nms

    wanted = next(each for each in requires("torchvision") or [] if each.startswith("torch"))
    exact = re.search(r"==([\d.]+)", wanted)
    assert exact is None or version("torch").split("+")[0] == exact[1]
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0]


def test_a_wheel_works_from_any_folder(tmp_path: Path) -> None:
    subprocess.run(
        [
            *f"{sys.executable} -m pip wheel --quiet --no-deps --no-build-isolation".split(),
            *("--wheel-dir", str(tmp_path), str(REPOSITORY)),
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    code = "import sar_codec.config as c; print(c.CONF_DIR)"
    for arguments, expected in (
        (["-c", code], str(tmp_path / "site" / "sar_codec" / "conf")),
        (["-m", "sar_codec.train", "--cfg", "job"], "lr_patience: 10"),
    ):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path / "elsewhere",
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert expected in done.stdout


def test_every_dependency_has_its_reason_beside_it() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block
    for line in block[1].splitlines():
        assert re.fullmatch(r'  "[^"]+",\s+# .{10,}', line), line
