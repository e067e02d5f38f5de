"""``draw_featmap`` of this project's visualizer against MMEngine's: the same call, the same picture."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from mmengine.visualization import Visualizer

from benchmarks.context import Context, demo_image
from benchmarks.measure import run_python
from benchmarks.memory import SCRIPT
from benchmarks.report import Row
from featmap import FeatMapVisualizer

# Shape of the map, and how many times faster than MMEngine one plane of it is wanted.
SHAPES = {(512, 20, 20): 200, (256, 40, 40): 120, (128, 80, 80): 70}
WAYS: dict[str, dict[str, Any]] = {
    'mean': {'channel_reduction': 'squeeze_mean'},
    'select_max': {'channel_reduction': 'select_max'},
    'top-20 grid': {'channel_reduction': None, 'topk': 20, 'arrangement': (4, 5)},
}
_GRID_GOAL = 30
_MEMORY_ROUNDS = 3
MEMORY_CHANNELS = 512


def run(context: Context) -> list[Row]:
    """Time onto a 640x480 image, and the memory of one draw."""
    image = demo_image()
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # MMEngine's, on a map smaller than the image
        for way, options in WAYS.items():
            for shape, goal in SHAPES.items():
                features = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(context.device)
                calls: dict[str, Callable[[], np.ndarray]] = {
                    'featmap': partial(FeatMapVisualizer.draw_featmap, features, image, **options),
                    'MMEngine': partial(Visualizer.draw_featmap, features, image, **options),
                }
                took = context.interleave(calls)
                rows.append(
                    Row(
                        f'{way} of {_text(shape)}',
                        took['featmap'] * 1000,
                        took['MMEngine'] * 1000,
                        'MMEngine',
                        f'at least {goal if options["channel_reduction"] else _GRID_GOAL}x',
                        note='' if options['channel_reduction'] is None else _difference(calls),
                    )
                )
    return [*rows, _memory(context)]


def _difference(calls: dict[str, Callable[[], np.ndarray]]) -> str:
    ours, theirs = (calls[name]().astype(int) for name in ('featmap', 'MMEngine'))
    return f'pixels differ by at most {abs(ours - theirs).max()} of 255'


def _memory(context: Context) -> Row:
    taken: dict[str, list[float]] = {'featmap': [], 'mmengine': []}
    for _ in range(min(context.rounds, _MEMORY_ROUNDS)):
        for name, megabytes in taken.items():
            megabytes.append(float(run_python(SCRIPT, name, MEMORY_CHANNELS)))
    return Row(
        f'memory of one draw, mean of {MEMORY_CHANNELS}x20x20 onto 1333x800',
        median(taken['featmap']),
        median(taken['mmengine']),
        'MMEngine',
        'under 30 MB',
        'MB',
        note='growth of the peak resident size, on the CPU',
    )


def _text(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape))
