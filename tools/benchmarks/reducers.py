"""Every registered reducer on one map of (512, 40, 40)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.context import Context
from benchmarks.report import Row
from featmap.errors import FeatMapError, MissingPackageError, first_line
from featmap.reducers import build_reducer, reduce
from featmap.registry import REDUCERS

SHAPE = (512, 40, 40)
_GOALS = {'pca': 'under 15 ms', 'eigen': 'under 15 ms'}
_OPTIONS: dict[str, dict[str, Any]] = {'channels': {'channels': (0, 1, 2, 3)}}


def run(context: Context) -> list[Row]:
    """Time each, on features with the falling spectrum that layers have."""
    features, weights = _features(context.device), torch.ones(SHAPE[1:], device=context.device)
    REDUCERS.import_from_location()
    rows = []
    own = [name for name, kind in REDUCERS.module_dict.items() if kind.__module__.startswith('featmap.')]
    for name in sorted(own):
        reducer = build_reducer(name, **_OPTIONS.get(name, {}))
        # A picture of 1 or 3 channels is the only thing that this one takes.
        call = partial(reduce, reducer, features[:3] if name == 'as_image' else features, weights)
        try:
            call()
        except MissingPackageError as error:
            rows.append(Row(name, None, goal=_GOALS.get(name, ''), note=f'not run: {first_line(error)}'))
        except FeatMapError as error:
            rows.append(Row(name, None, note=f'does not take such a map: {first_line(error)}'))
        else:
            took = context.interleave({name: call})
            rows.append(Row(name, took[name] * 1000, goal=_GOALS.get(name, '')))
    return rows


def _features(device: torch.device) -> torch.Tensor:
    """Sixty-four directions of falling strength and some noise, cut at 0 as by a ReLU."""
    chance = torch.Generator().manual_seed(0)
    channels, rows, columns = SHAPE
    directions = torch.randn(channels, 64, generator=chance)
    strengths = torch.randn(64, rows * columns, generator=chance) / torch.arange(1, 65)[:, None]
    values = directions @ strengths + 0.1 * torch.randn(channels, rows * columns, generator=chance)
    return values.relu().unflatten(1, (rows, columns)).to(device)
