"""A trace of a few steps: where their time goes."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, tensorboard_trace_handler

log = logging.getLogger(__name__)

# The first steps allocate, choose algorithms and compile.
WAIT, TRACED = 2, 3
SHOWN = 10  # operations in the log


@contextmanager
def profiled(run_dir: Path, device: torch.device) -> Iterator[Callable[[], None]]:
    """A context that traces a few steps into `profile/`, for TensorBoard or ui.perfetto.dev.

    Yields:
        A function to call after each step.
    """
    folder = run_dir / "profile"
    activities = [ProfilerActivity.CPU]
    # Also of a training on the CPU: beside a GPU, torch 2.11 crashes where only that is traced
    # (https://github.com/pytorch/pytorch/pull/186036).
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    # Not by its schedule: that starts a trace even at the end of a run too short for one, where
    # torch 2.11 crashes beside a GPU.
    # There is one cycle only; torch 2.11 warns of others, unless it is to keep their events.
    trace = profile(activities=activities, record_shapes=True, acc_events=True)
    steps, is_traced = 0, False

    def step() -> None:
        nonlocal steps, is_traced
        steps += 1
        if steps == WAIT:
            trace.start()
            is_traced = True
        elif steps == WAIT + TRACED:
            end()

    def end() -> None:
        nonlocal is_traced
        is_traced = False
        try:
            trace.stop()
            if steps > WAIT:
                tensorboard_trace_handler(str(folder))(trace)
        except (OSError, RuntimeError) as error:
            log.warning("%s: the trace cannot be written (%s)", folder, error)
            return
        if steps == WAIT:
            return
        by = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
        table = trace.key_averages().table(sort_by=by, row_limit=SHOWN, max_name_column_width=40)
        log.info("Traced %d steps into %s:\n%s", steps - WAIT, folder, table)

    try:
        yield step
    finally:
        if is_traced:
            end()
    if steps <= WAIT:
        log.warning("Nothing was traced: it takes more than %d steps", WAIT)
