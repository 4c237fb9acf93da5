"""The states of all global random number generators, as checkpoints can hold them."""

import random
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seeds all of them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # all that it takes
    torch.manual_seed(seed)


def random_states(device: torch.device) -> dict[str, Any]:
    """What python's, numpy's and torch's global generators would draw from next."""
    version, words, next_gauss = random.getstate()
    numpy = dict(np.random.get_state(legacy=False))
    keys = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    states: dict[str, Any] = {
        # Tensors, because hundreds of numbers one by one take longer to save than a model.
        "python": (version, torch.tensor(words), next_gauss),
        "numpy": numpy | {"state": {"key": keys, "pos": int(numpy["state"]["pos"])}},
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Puts the generators back to where `random_states` found them."""
    version, words, next_gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), next_gauss))
    numpy = states["numpy"]
    keys = numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state(numpy | {"state": {"key": keys, "pos": numpy["state"]["pos"]}})
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
