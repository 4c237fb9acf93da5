import platform
import subprocess
import sys

import pytest

ALLOCATE = """
import resource
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from sar_codec.memory import keep_freed_memory

def allocate():
    for _ in range(50):
        some = [np.ones(6 * 2**20, np.uint8) for _ in range(9)]

if KEEPS:
    keep_freed_memory()
with ThreadPoolExecutor(1) as pool:
    pool.submit(allocate).result()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pool.submit(allocate).result()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keeps: bool) -> int:
    """Pages that had to be found while a thread allocated the same again and again."""
    code = f"KEEPS = {keeps}\n{ALLOCATE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again() -> None:
    kept, given_back = faults(True), faults(False)
    assert kept < 0.05 * given_back, (kept, given_back)
