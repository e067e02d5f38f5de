"""How long calls take: side by side, so that a busy moment of the machine meets all of them alike."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch

Call = Callable[[], object]

_LEAST_TURN_S = 0.02  # a quick call is repeated for so long in each of its turns


def interleave(
    calls: Mapping[str, Call], rounds: int, warmup: int = 1, device: torch.device | None = None
) -> dict[str, float]:
    """Median seconds of each call, over rounds in which each has its turn: first A, then B, then A again.

    Args:
        calls: What to run, by name.
        rounds: How many turns each gets; a turn's figure is the median of the calls in it.
        warmup: How many rounds to run before, unmeasured.
        device: A CUDA device is waited for before and after each call.
    """
    turns: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-warmup, rounds):
        for name, call in calls.items():
            seconds = _turn(call, device)
            if number >= 0:
                turns[name].append(seconds)
    return {name: median(seconds) for name, seconds in turns.items()}


def _turn(call: Call, device: torch.device | None) -> float:
    taken: list[float] = []
    while not taken or sum(taken) < _LEAST_TURN_S:
        wait_for(device)
        start = time.perf_counter()
        call()
        wait_for(device)
        taken.append(time.perf_counter() - start)
    return median(taken)


def wait_for(device: torch.device | None) -> None:
    """Wait until a CUDA device has done all that it was given."""
    if device is not None and device.type == 'cuda':
        torch.cuda.synchronize(device)


def process(*arguments: object) -> Call:
    """A call that runs Python with these arguments in a process of its own, to its end."""

    def call() -> str:
        return run_python(*arguments)

    return call


def run_python(*arguments: object) -> str:
    """What a Python process with these arguments prints.

    Raises:
        RuntimeError: where it fails, with the end of what it said.
    """
    command: Sequence[str] = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{" ".join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}')
    return done.stdout
