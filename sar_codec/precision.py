"""Which numbers a processor computes with fast."""

import torch


def has_native_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bf16 numbers itself, instead of taking twice the time."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch.cpu.get_capabilities is public, but came after torch 2.10.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
