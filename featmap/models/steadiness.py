"""Whether a preprocessing makes the same of an image each time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def is_steady(run: Callable[[Any], np.ndarray], argument: Any, repeats: int) -> bool:
    """Whether a function makes the same array of an argument the first time and at each of the repeats."""
    first = run(argument)
    return all(np.array_equal(first, run(argument), equal_nan=first.dtype.kind == 'f') for _ in range(repeats))


@contextmanager
def same_chance() -> Iterator[Callable[[], bool]]:
    """Leaves random numbers as they were; yields a function that says whether any were drawn so far."""
    before = np.random.get_state(), random.getstate(), torch.get_rng_state()

    def drawn() -> bool:
        now = np.random.get_state()
        return (
            random.getstate() != before[1]
            or not torch.equal(torch.get_rng_state(), before[2])
            or not all(np.array_equal(one, other) for one, other in zip(now, before[0]))
        )

    try:
        yield drawn
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])
        torch.set_rng_state(before[2])
