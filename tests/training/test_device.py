import pytest
import torch

from sar_codec.errors import UserError
from sar_codec.training import device

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.mark.parametrize("gpus", [0, 2])
def test_auto_is_the_gpu_where_there_is_one(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert device.pick_device("auto") == (CUDA if gpus else CPU)
    assert device.pick_device("cpu") == CPU
    if gpus:
        assert device.pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match=f"device=cuda:5: PyTorch sees {gpus} GPUs"):
        device.pick_device("cuda:5")


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("kind", [CPU, CUDA])
def test_auto_precision_is_bf16_where_the_processor_has_it(
    kind: torch.device, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    expected = torch.bfloat16 if native else torch.float32
    assert device.pick_precision("auto", kind) == expected
    assert device.pick_precision("fp32", kind) == torch.float32
    assert device.pick_precision("bf16", kind) == torch.bfloat16


def test_autocast_of_float32_does_nothing() -> None:
    a = torch.rand(4, 4)
    with device.autocast(CPU, torch.float32):
        assert (a @ a).dtype == torch.float32
    with device.autocast(CPU, torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16


def test_each_process_that_torchrun_started_here_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device.pick_device("auto") == torch.device("cuda:1")
    assert device.pick_device("cuda") == torch.device("cuda:1")
    assert device.pick_device("cpu") == CPU
    assert chosen == [torch.device("cuda:1")] * 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes here, which need a GPU each; give device=cu"):
        device.pick_device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="device=cuda:2: PyTorch sees 2 GPUs"):
        device.pick_device("auto")
