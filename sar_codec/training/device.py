"""Where and in which precision a model runs."""

import os
from contextlib import AbstractContextManager
from typing import Literal

import torch

from sar_codec.errors import UserError
from sar_codec.precision import has_native_bf16

Precision = Literal["auto", "fp32", "bf16"]


def pick_device(name: str | torch.device) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one, else the CPU.

    Of several processes that torchrun started here, each has a GPU of its own.

    Raises:
        UserError: a GPU is asked for that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if device.type == "cuda" and device.index is not None and here > 1:
        raise UserError(
            f"device={name}: torchrun started {here} processes here, which need a GPU each; "
            "give device=cuda"
        )
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
        device = torch.device(name)
        if device.index < torch.cuda.device_count():
            torch.cuda.set_device(device)  # also for what names no device
    if device.type == "cuda":
        # The fastest convolutions add in an order that varies, and resuming is to be exact.
        torch.backends.cudnn.deterministic = True
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device={name}: PyTorch sees {torch.cuda.device_count()} GPUs; "
            "use device=cpu, or check the driver and that torch is a CUDA build"
        )
    return device


def pick_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of matrix products and convolutions; "auto" is bf16 where it is native.

    Asked for fp32 on a GPU, it is fp32: TF32, cuDNN's default for convolutions, is switched off.
    """
    if device.type == "cuda" and precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False
    if precision == "auto":
        return torch.bfloat16 if has_native_bf16(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def autocast(
    device: torch.device, dtype: torch.dtype, cached: bool = True
) -> AbstractContextManager[None]:
    """A context in which `dtype` is used where it is safe; nothing for float32.

    With `cached`, what is cast once is kept for the context's duration.
    """
    in_use = dtype != torch.float32
    return torch.autocast(device.type, dtype=dtype, enabled=in_use, cache_enabled=cached)


def made_with(device: torch.device, dtype: torch.dtype) -> dict[str, str | int]:
    """What the last bits of results depend on besides configuration."""
    return {
        "torch": str(torch.__version__),
        "device": device.type,
        "precision": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def gpu_memory_gb(device: torch.device) -> dict[str, float]:
    """GPU memory in GB: allocated and reserved now, and the peak allocated; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "allocated": torch.cuda.memory_allocated(device) / 1e9,
        "reserved": torch.cuda.memory_reserved(device) / 1e9,
        "peak": torch.cuda.max_memory_allocated(device) / 1e9,
    }
