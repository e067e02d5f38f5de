"""Every channel of a large layer, from maps to files: as labelled sheets, and each in a file of its own."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.channel_files import CELLS, SCRIPT
from benchmarks.context import Context
from benchmarks.measure import run_python
from benchmarks.report import Row

CHANNELS = 2048
_LIMIT_MB = 500
WAYS = {
    'sheets': 'labelled sheets, .png',
    'split': 'a file a channel, .png',
    'full': "a file a channel of the image's size, .jpg",
    'loop': 'a loop of OpenCV calls',
}


def run(context: Context) -> list[Row]:
    """Time and memory of each way; the loop is what people write by hand."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(context.rounds):
        for name, figures in taken.items():
            seconds, megabytes = map(float, run_python(SCRIPT, name, CHANNELS).split())
            figures.append((seconds, megabytes))
    rows = []
    for name in ('sheets', 'split', 'full'):
        seconds, loop = (median(each for each, _ in taken[way]) for way in (name, 'loop'))
        title = f'{CHANNELS} channels of {CELLS}x{CELLS}: {WAYS[name]}'
        peer: dict[str, Any] = {'peer': loop, 'peer_name': WAYS['loop']} if name == 'full' else {}
        rows.append(Row(title, seconds, goal='under 3 s', unit='s', **peer))
        grown = median(each for _, each in taken[name])
        rows.append(Row(f'memory of it: {WAYS[name]}', grown, goal=f'under {_LIMIT_MB} MB', unit='MB'))
    return rows
