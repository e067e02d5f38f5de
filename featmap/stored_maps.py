"""One map in a file of raw maps: its entry in the JSON file, its arrays in the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from featmap.arrays import to_array
from featmap.errors import OutputError
from featmap.geometry import ImageGeometry
from featmap.rendering.normalize import value_range
from featmap.structures import MOST_GROUPS, FeatureMap

_TOLD = ('meaning', 'noise', 'why', 'note', 'query')  # entries that files of old lack


def map_entry(item: FeatureMap, key: str, arrays: dict[str, np.ndarray], features: bool) -> dict[str, Any]:
    """A map in the JSON file; its arrays are added to those of the data, under names that begin with the key.

    Raises:
        OutputError: where the features are wanted, and it holds none.
    """
    arrays[key] = to_array(item.values)
    if features:
        if item.features is None:
            raise OutputError(f'{item.name} holds no features: make the maps with keep_features=True')
        arrays[f'{key}_features'] = to_array(item.features)
    ranges = [value_range(plane) for plane in item.content]
    return {
        'layer': item.layer,
        'call': item.call,
        'calls': item.calls,
        'path': item.path,
        'shape': item.shape,
        'stride': item.stride,
        'stride_known': item.stride_known,
        'tokens': item.tokens and asdict(item.tokens),
        'offset': item.offset,
        'reducer': item.reducer,
        'kind': item.kind,
        'channels': item.channels,
        'names': item.names,
        'value_ranges': [r and (r.low, r.high) for r in ranges],
        'fixed_ranges': item.ranges,
        **{name: getattr(item, name) for name in _TOLD},
        'geometry': asdict(item.geometry),
        'arrays': {'values': key, 'features': f'{key}_features' if features else None},
        'pca': _components_entry(item.pca, f'{key}_pca', arrays),
    }


def _components_entry(item: FeatureMap | None, key: str, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """What the picture of components has for its own; all else it shares with the map that it goes with."""
    if item is None:
        return None
    arrays[key] = to_array(item.values)
    own = {'channels': item.channels, 'names': item.names, 'fixed_ranges': item.ranges, 'noise': item.noise}
    return {**own, 'values': key}


def map_of(entry: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> FeatureMap:
    """A map as :func:`map_entry` wrote it.

    Raises:
        ValueError: where entry and arrays do not go together. KeyError, DrawError, GeometryError likewise.
    """
    keys, shape, values = entry['arrays'], entry['shape'], arrays[entry['arrays']['values']]
    if values.dtype.kind != 'f' or values.shape != (len(entry['channels']), *shape[1:]):
        raise ValueError(
            f'{values.dtype} {values.shape} for {len(entry["channels"])} planes of a layer of {shape}, expected floats'
        )
    if entry['kind'] == 'image' and len(values) not in (1, 3):
        raise ValueError(f'a picture of {len(values)} planes, expected 1 or 3')
    if entry['kind'] == 'segments' and not ((values >= 0) & (values < MOST_GROUPS) | np.isnan(values)).all():
        raise ValueError(f'groups of other numbers than 0 to {MOST_GROUPS - 1}')
    if len(entry['fixed_ranges']) not in (0, len(values)) or any(
        len(entry.get(name, ())) not in (0, len(values)) for name in ('noise', 'why')
    ):
        raise ValueError(f'ranges, rounding or reasons of another number of planes than {len(values)}')
    return FeatureMap(
        values=values,
        shape=shape,
        stride=_numbers(entry['stride']),
        geometry=ImageGeometry(**entry['geometry']),
        channels=entry['channels'],
        names=entry['names'],
        ranges=tuple(_numbers(pair) for pair in entry['fixed_ranges']),
        features=None if keys['features'] is None else arrays[keys['features']],
        offset=_numbers(entry.get('offset', (0, 0))),
        stride_known=bool(entry.get('stride_known', True)),
        tokens=entry.get('tokens'),
        query=None if entry.get('query') is None else _numbers(entry['query']),
        pca=_components(entry, arrays),
        **{name: entry[name] for name in _TOLD if name in entry and name != 'query'},
        **{name: entry[name] for name in ('layer', 'path', 'call', 'calls', 'reducer', 'kind')},
    )


def _components(entry: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> FeatureMap | None:
    """The picture of components that goes with a map."""
    if entry.get('pca') is None:
        return None
    own = {'reducer': 'pca', 'kind': 'image', 'why': (), 'pca': None, **entry['pca']}
    return map_of({**entry, **own, 'arrays': {'values': own['values'], 'features': None}}, arrays)


def _numbers(pair: Any) -> tuple[float, float]:
    low, high = (math.nan if number is None else float(number) for number in pair)
    return low, high
