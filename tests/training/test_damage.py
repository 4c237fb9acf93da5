"""What power cuts, kills and bad disks do to checkpoints, and what is left of them then."""

import builtins
import io
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cuts import in_process
from test_checkpoint import a_state

from sar_codec.errors import UserError
from sar_codec.training import checkpoint
from sar_codec.training.checkpoint import State
from sar_codec.training.keeping import KeptCheckpoints

DIED = 77
PAGE = 4096
OPERATIONS = ("open", "close", "fsync", "mkdir", "link", "replace", "rename", "unlink", "sendfile")


def die_at_each_point(folder: Path, before: int, links: bool) -> None:
    """Runs of `before` checkpoints each, whose next save dies before its 1st, 2nd ... operation.

    The last one comes through. To be called in a process of its own, which forks for each.
    """
    torch.set_num_threads(1)
    os.fsync = lambda _: None  # a killed process loses nothing that it wrote
    for point in itertools.count():
        kept = KeptCheckpoints(folder / f"{point:03}")
        for epoch in range(1, before + 1):
            kept.keep(a_state(epoch=epoch), is_best=True)
        process = os.fork()
        if not process:
            keep_and_die(kept, a_state(epoch=before + 1), point, links)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code in (0, DIED)
        if code == 0:
            break


def keep_and_die(kept: KeptCheckpoints, state: State, point: int, links: bool) -> None:
    """Keeps a checkpoint, but ends the process just before file operation no. `point`.

    A write counts twice: it may die before it and with half of the bytes written.
    """
    operations = itertools.count()

    def dies_here() -> bool:
        return next(operations) == point

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **settings: Any) -> Any:
            if dies_here():
                os._exit(DIED)
            return function(*arguments, **settings)

        return operation

    class Written(io.FileIO):
        """A file that is written at once, so that a death leaves what a kernel would have."""

        def write(self, content: Any) -> int:
            if dies_here():
                os._exit(DIED)
            if dies_here():
                super().write(memoryview(content)[: len(content) // 2])
                os._exit(DIED)
            return super().write(content)

        def close(self) -> None:
            if not self.closed and dies_here():
                os._exit(DIED)
            super().close()

    really_open = io.open

    def open_file(path: Any, mode: str = "r", *arguments: Any, **settings: Any) -> Any:
        if mode == "wb":
            return counted(Written)(path, mode)
        return really_open(path, mode, *arguments, **settings)

    def no_links(*arguments: Any, **settings: Any) -> None:
        raise PermissionError

    if not links:
        os.link = no_links
    for name in OPERATIONS:
        setattr(os, name, counted(getattr(os, name)))
    io.open = builtins.open = open_file  # type: ignore[assignment]
    kept.keep(state, is_best=True)


@pytest.mark.parametrize(
    ("before", "links"),
    [
        pytest.param(0, True, id="0-links"),
        # Like the one above; a minute.
        pytest.param(1, True, id="1-links", marks=pytest.mark.slow),
        pytest.param(1, False, id="1-copies", marks=pytest.mark.slow),
        pytest.param(2, True, id="2-links", marks=pytest.mark.slow),
        pytest.param(0, False, id="0-copies", marks=pytest.mark.slow),
        pytest.param(2, False, id="2-copies", marks=pytest.mark.slow),
    ],
)
def test_a_save_that_dies_anywhere_leaves_what_was_or_what_was_to_be(
    before: int, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # as quick as in the processes that die
    assert in_process(die_at_each_point, tmp_path, before, links) == 0
    epochs: list[int] = []
    for run_dir in sorted(tmp_path.iterdir()):
        kept = KeptCheckpoints(run_dir)
        if before or kept.latest.exists():
            state, source = checkpoint.load_or_previous(kept.latest)
            assert source == kept.latest
            epochs.append(state.epoch)
        if before or kept.best.exists():
            assert checkpoint.load(kept.best).epoch in (before, before + 1)
        kept.begin()
        left = set(os.listdir(kept.folder)) if kept.folder.exists() else set()
        assert left <= {"latest.pth", "previous.pth", "best.pth"}
        kept.keep(a_state(epoch=before + 2), is_best=True)
        for path in (kept.latest, kept.best):
            assert checkpoint.load(path).epoch == before + 2
        if epochs:
            assert checkpoint.load(kept.previous).epoch == epochs[-1]
    assert len(list(tmp_path.iterdir())) >= 20, "operations are not counted"
    assert epochs == sorted(epochs), "the later it dies, the newer what is left"
    assert set(epochs) == ({before, before + 1} - {0})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 200 kB, as a run with a small model leaves it."""
    path = tmp_path_factory.mktemp("whole") / "latest.pth"
    generator = torch.Generator().manual_seed(0)
    weights = {f"layer{n}.weight": torch.randn(64, 96, generator=generator) for n in range(4)}
    moments = {n: {"exp_avg": torch.randn(64, 96, generator=generator)} for n in range(4)}
    state = a_state(model_state_dict=weights, optimizer_state_dict={"state": moments})
    checkpoint.save(state, path)
    assert 190_000 < path.stat().st_size < 220_000
    return path


def refusal_of(path: Path) -> str:
    with pytest.raises(UserError) as refusal:
        checkpoint.load(path)
    return str(refusal.value)


def flipped(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    changed = content[place] ^ (1 << draw.randrange(8))
    return content[:place] + bytes([changed]) + content[place + 1 :]


def without_a_page(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) - PAGE)
    zeroed = content[:place] + bytes(PAGE) + content[place + PAGE :]
    return zeroed if zeroed != content else without_a_page(content, draw)


def truncated(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


@pytest.mark.parametrize(
    ("damage", "times"), [(flipped, 2000), (without_a_page, 500), (truncated, 500)]
)
def test_every_damage_is_refused_in_one_line(
    damage: Callable[[bytes, random.Random], bytes], times: int, whole: Path, tmp_path: Path
) -> None:
    content, draw, path = whole.read_bytes(), random.Random(0), tmp_path / "best.pth"
    for _ in range(times):
        path.write_bytes(damage(content, draw))
        message = refusal_of(path)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
    path.write_bytes(content)
    checkpoint.load(path)


@pytest.mark.parametrize("damage", [flipped, without_a_page, truncated])
def test_a_run_goes_on_from_the_one_before_a_damaged_checkpoint(
    damage: Callable[[bytes, random.Random], bytes],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = KeptCheckpoints(tmp_path)
    weights = {"w": torch.rand(3000, generator=torch.Generator().manual_seed(0))}
    for epoch in (1, 2):
        kept.keep(a_state(epoch=epoch, model_state_dict=weights), is_best=False)
    damaged = damage(kept.latest.read_bytes(), random.Random(0))
    kept.latest.write_bytes(damaged)

    state, source = checkpoint.load_or_previous(kept.latest)
    assert (state.epoch, source) == (1, kept.previous)
    why, instead = (record.getMessage() for record in caplog.records)
    assert why.startswith(f"{kept.latest}: ")
    assert instead == f"Going on from {kept.previous} instead"
    assert {record.levelname for record in caplog.records} == {"WARNING"}

    kept.begin()
    kept.go_on_from(state, source)
    assert (kept.folder / "damaged.pth").read_bytes() == damaged
    assert checkpoint.load(kept.latest).epoch == 1
    kept.keep(a_state(epoch=2), is_best=True)
    assert [checkpoint.load(path).epoch for path in (kept.latest, kept.previous)] == [2, 1]


def test_where_both_are_damaged_neither_is_taken(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path)
    for epoch in (1, 2):
        kept.keep(a_state(epoch=epoch), is_best=True)
    for path in (kept.latest, kept.previous):
        path.write_bytes(flipped(path.read_bytes(), random.Random(0)))
    with pytest.raises(UserError, match=r"previous\.pth: damaged"):
        checkpoint.load_or_previous(kept.latest)


def test_a_best_checkpoint_of_another_epoch_is_not_taken_for_the_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = KeptCheckpoints(tmp_path / "old")
    old.keep(a_state(epoch=3, best_epoch=3), is_best=True)
    old.keep(a_state(epoch=3, batch=2, best_epoch=3), is_best=False)
    old.keep(a_state(epoch=4, best_epoch=4), is_best=True)
    inside = checkpoint.load(old.previous)
    new = KeptCheckpoints(tmp_path / "new")
    new.go_on_from(inside, old.previous)
    assert not new.best.exists()
    assert f"{old.best}: is of epoch 4; the best epoch so far, 3, is lost" in caplog.text
    old.latest.write_bytes(flipped(old.latest.read_bytes(), random.Random(0)))  # best.pth as well
    old.go_on_from(inside, old.previous)
    assert not old.best.exists()
    assert (old.folder / "other_best.pth").exists()
