"""What tests of files that are written often need."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder in memory where there is one, for files by the thousand."""
    with _in_memory(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="module")
def memory_folder_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same, of all tests of a module."""
    with _in_memory(tmp_path_factory.mktemp("files")) as folder:
        yield folder


@contextmanager
def _in_memory(otherwise: Path) -> Iterator[Path]:
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK) else otherwise
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)
