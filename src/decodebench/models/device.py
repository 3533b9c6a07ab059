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
def cpu_threads(count: int | None) -> Iterator[None]:
    """So many threads for products on the CPU within the block; None leaves torch's choice, one for each core."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def fastest_exact_products(device: torch.device, dtype: torch.dtype) -> Iterator[str]:
    """Within the block, float32 products of a CPU go the way that is faster on many, where it is as exact here.

    torch sends them to oneDNN under "medium" precision, to another library otherwise; on processors with AMX "medium"
    means bfloat16. So the error of both is measured, against float64. Yields what was found, a line for the manifest.
    """
    before = torch.get_float32_matmul_precision()
    if device.type != "cpu" or dtype != torch.float32:
        yield f"{str(dtype).removeprefix('torch.')} products as torch computes them"
        return
    plain, other = _product_error("highest"), _product_error("medium")
    exact = other <= 2 * plain
    torch.set_float32_matmul_precision("medium" if exact else "highest")
    try:
        found = f"relative error {other:.1e}, {plain:.1e} without (probed)"
        yield f"float32 products by oneDNN: {found}" if exact else f"float32 products not by oneDNN: {found}"
    finally:
        torch.set_float32_matmul_precision(before)


def _product_error(precision: str) -> float:
    """The largest error of a float32 product at this precision, as a share of its largest value."""
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(64, 512, generator=generator), torch.randn(512, 256, generator=generator)
    exact = left.double() @ right.double()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        return float((left @ right - exact).abs().max() / exact.abs().max())
    finally:
        torch.set_float32_matmul_precision(before)


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
