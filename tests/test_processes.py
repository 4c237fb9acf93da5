"""One process alone; several are in test_torchrun.py and training/test_together.py."""

import pytest
import torch
from torch import nn

from sar_codec import processes
from sar_codec.errors import UserError

CPU = torch.device("cpu")


def test_one_alone_agrees_with_itself() -> None:
    alone = processes.group()
    model = nn.Linear(1, 1)
    values = torch.arange(3.0)
    assert alone.is_first and alone.count == 1
    assert alone.largest(3, 1) == [3, 1]
    assert alone.total(5) == 5
    assert alone.sum(values) is values
    assert alone.gather("x") == ["x"]
    assert alone.training(model, CPU) is model
    with alone.exchanging(model, False), alone.minding_others():
        pass


def test_only_what_torchrun_starts_is_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not processes.are_several()
    assert processes.is_first()
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert processes.are_several()
    assert not processes.is_first()


def test_the_end_of_another_process_is_told_and_other_errors_are_left_alone() -> None:
    together = processes._Group.__new__(processes._Group)
    ended = pytest.raises(UserError, match="another process of this run has ended")
    with ended, together.minding_others():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shape"), together.minding_others():
        raise RuntimeError("shape '[3]' is invalid")


def test_processes_that_do_not_come_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "no.such.machine.invalid",
        "MASTER_PORT": "29500",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "TIMEOUT", processes.timedelta(seconds=1))
    with pytest.raises(UserError, match=r"the 2 processes did not find each other at no\.such"):
        processes.join()
