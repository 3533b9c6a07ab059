"""What a measurement needs of a device: to wait for it, its free memory, and its peak memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], tuple[int | None, str | None]]]:
    """Peak memory in the block: of the allocator on CUDA, of the process on Linux (its high-water mark is reset)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: (torch.cuda.max_memory_allocated(device), None)
        return
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        clear.write_text("5")
    except OSError as error:
        reason = f"the process's peak memory cannot be reset here ({error.strerror})"
        yield lambda: (None, reason)
        return
    yield lambda: (_high_water_bytes(status.read_text()), None)


def _high_water_bytes(status: str) -> int:
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device, or on the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
