"""Untrained networks that code small images in milliseconds."""

from pathlib import Path
from typing import Any

import torch

from sar_codec.config import build
from sar_codec.trained import Trained, pass_on

_LATENTS = {"latent_channels": 12, "width": 6, "analysis_depth": 1, "synthesis_depth": 1}
_HYPER = {
    "synthesis_depth": 2,  # what refines needs one latent more around
    "coarse_channels": 5,
    "hyper_channels": 4,
    "hyper_width": 6,
    "context_width": 8,
    "refinement_width": 4,
    "lapped": True,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "factorized": {"_target_": "sar_codec.models.factorized.Factorized", **_LATENTS},
    "hyperprior": {"_target_": "sar_codec.models.hyperprior.Hyperprior", **_LATENTS, **_HYPER},
    "interlaced": {"_target_": "sar_codec.models.interlaced.Interlaced", "width": 4},
    "autoencoder": {"_target_": "sar_codec.models.autoencoder.SARAutoencoder"},
}


def write_weights(path: Path, kind: str, seed: int = 0) -> Path:
    """Weights a little away from where training starts, as the `--model` of the file tool."""
    torch.manual_seed(seed)
    model = build(CONFIGS[kind], "model")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if kind != "interlaced" and "log_" not in name and "linear" not in name:
                parameter.add_(0.02 * torch.randn_like(parameter))
    pass_on(Trained(CONFIGS[kind], {"vmin": -50.0, "vmax": 30.0}, model.eval().state_dict()), path)
    return path
