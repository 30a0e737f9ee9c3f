"""What a device does at best, how long work takes on it, how much memory that needs, and which kernels it runs."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

GPU = torch.cuda.is_available()
NAME = "cuda" if GPU else "cpu"


def timed(run: Callable[[], float], repeats: int, most: float = 5.0) -> dict[str, Any]:
    """Median and range of the seconds that `run` says, after one run that does not count (`first`).

    At least one repeat; no further ones after `most` seconds.
    """
    began, first, found = time.perf_counter(), run(), list[float]()
    while len(found) < repeats and (not found or time.perf_counter() - began < most):
        found.append(run())
    return {"median": statistics.median(found), "low": min(found), "high": max(found), "rounds": len(found), "first": first}


def clock(work: Callable[[], object]) -> float:
    """Seconds that `work` takes until the device is done."""
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def now() -> float:
    """The time in seconds at which the device has done what it was told."""
    wait()
    return time.perf_counter()


def wait() -> None:
    """Until the device has done what it was told."""
    if GPU:
        torch.cuda.synchronize()


def tidy() -> None:
    """Give back memory that nobody holds, and count the peak anew."""
    gc.collect()
    if GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int | None:
    """The most memory held since `tidy`; None where there is no GPU."""
    return torch.cuda.max_memory_allocated() if GPU else None


def held_bytes() -> int | None:
    """Memory that tensors hold now."""
    return torch.cuda.memory_allocated() if GPU else None


def product(size: int) -> dict[str, Any]:
    """A square bf16 matrix product of random numbers: operations a second."""
    one, other = (torch.randn(size, size, device=NAME, dtype=torch.bfloat16) for _ in range(2))
    seconds = timed(lambda: clock(lambda: [one @ other for _ in range(10)]), 5)
    return {"size": size, "seconds": seconds, "operations_a_second": 10 * 2 * size**3 / seconds["median"]}


def copying(size: int) -> dict[str, Any]:
    """A copy within the device's memory: bytes a second, those read and those written."""
    source = torch.randint(0, 255, (size,), device=NAME, dtype=torch.uint8)
    target = torch.empty_like(source)
    seconds = timed(lambda: clock(lambda: [target.copy_(source) for _ in range(10)]), 5)
    return {"bytes": size, "seconds": seconds, "bytes_a_second": 10 * 2 * size / seconds["median"]}


def kernels(work: Callable[[], object], most: int = 12) -> dict[str, Any]:
    """Which kernels take the device's time in one run of `work` (without a GPU: which operations), and how much of the run
    the device has something to do."""
    try:
        with profile(activities=[ProfilerActivity.CUDA if GPU else ProfilerActivity.CPU]) as seen:
            seconds = clock(work)
        averages = seen.key_averages()
    except RuntimeError as error:  # not every machine lets itself be looked into
        return {"failed": type(error).__name__, "said": str(error)[:200]}
    own = {str(event.key): (_seconds(event), event.count) for event in averages if _seconds(event) > 0}
    busy = sum(spent for spent, _ in own.values())
    longest = sorted(own, key=lambda name: -own[name][0])[:most]
    return {
        "seconds": seconds,
        "busy": busy / seconds,
        "calls": sum(count for _, count in own.values()),
        "kernels": [{"name": name[:100], "share": round(own[name][0] / busy, 4), "calls": own[name][1]} for name in longest],
    }


def _seconds(event: Any) -> float:
    return 1e-6 * float(event.self_device_time_total if GPU else event.self_cpu_time_total)
