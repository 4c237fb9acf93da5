"""Tiles side by side: a thread for each, none of which starts others."""

import os

import torch


def one_thread_each() -> None:
    """To be called by threads that work side by side, before anything else.

    What a tile is coded to then depends on no number of threads.
    """
    torch.set_num_threads(1)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
