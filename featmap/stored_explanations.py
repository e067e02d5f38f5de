"""Explanations in the JSON file beside raw maps: what each map speaks for, and how well it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featmap.explanation import Explanation
from featmap.options.explain import FUSIONS
from featmap.schema import flag, many, mapping, maybe, number, one_of, record, text, whole
from featmap.structures import FeatureMap

_MOST = 1 << 24
_PLAIN = ('label', 'method', 'score', 'class_index', 'index', 'part', 'notes', 'fuse', 'class_agnostic')
ENTRY = record(
    {
        'label': text(),
        'method': text(),
        'maps': many(whole(0, _MOST)),
        'fuse': one_of(*FUSIONS),
        'trace': maybe(text()),
        'box': maybe(many(number(-_MOST, _MOST), 4)),
        'region': maybe(text()),
        'class_agnostic': flag,
    },
    {
        'score': maybe(number()),
        'class_index': maybe(whole(0, _MOST)),
        'index': maybe(whole(0, _MOST)),
        'part': text(),
        'notes': many(text()),
        'raw': maybe(mapping()),
        'faithfulness': maybe(record({'label': text()})),
    },
)
"""What an entry has to be."""


@dataclass(frozen=True)
class Told:
    """How faithful a stored explanation is, as its label says it."""

    label: str


def explanation_entries(explanations: Sequence[Explanation], arrays: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Entries of explanations whose maps stand one after another in the file; ``arrays`` is added to.

    Each has the target's label, score, class, box and raw prediction (``trace`` as text, ``raw`` its parts), method,
    numbers of the maps, fusion, notes, and the figures of ``faithfulness`` under the name of their protocol.
    """
    entries, first = [], 0
    for number_of, each in enumerate(explanations):
        key = None
        if each.region is not None:
            key = f'region{number_of}'
            arrays[key] = np.packbits(each.region, axis=None)
        proof = each.faithfulness
        entries.append(
            {
                **{name: getattr(each, name) for name in _PLAIN},
                'maps': list(range(first, first + len(each.maps))),
                'layers': each.layers,
                'trace': None if each.trace is None else str(each.trace),
                'raw': None if each.trace is None else asdict(each.trace),
                'box': None if each.box is None else np.asarray(each.box, float).tolist(),
                'region': key,
                'faithfulness': None if proof is None else {'label': proof.label, **proof.as_dict()},
            }
        )
        first += len(each.maps)
    return entries


def explanations_of(
    entries: Sequence[Mapping[str, Any]],
    maps: Sequence[FeatureMap],
    arrays: Mapping[str, np.ndarray],
    shape: tuple[int, int],
) -> tuple[Explanation, ...]:
    """Explanations of an image of this height and width as :func:`explanation_entries` wrote them.

    The trace is a text, and of the figures of faithfulness there is their label.

    Raises:
        ValueError: where they do not go together with the maps. KeyError for an array that is missing.
    """
    return tuple(_explanation(entry, maps, arrays, shape) for entry in entries)


def _explanation(
    entry: Mapping[str, Any], maps: Sequence[FeatureMap], arrays: Mapping[str, np.ndarray], shape: tuple[int, int]
) -> Explanation:
    if not entry['maps'] or max(entry['maps']) >= len(maps):
        raise ValueError(f'an explanation of the maps {entry["maps"]}, of which there are {len(maps)}')
    own = tuple(maps[index] for index in entry['maps'])
    if any(item.geometry.image_shape != shape or len(item) != 1 for item in own):
        raise ValueError(f'an explanation by maps that are not of one plane, and of an image of {shape}')
    region = None
    if entry['region'] is not None:
        packed = arrays[entry['region']]
        if packed.dtype != np.uint8 or packed.shape != (-(-shape[0] * shape[1] // 8),):
            raise ValueError(f'a region of {packed.dtype} {packed.shape} for an image of {shape}')
        bits = np.unpackbits(packed)
        region = bits[: shape[0] * shape[1]].reshape(shape).astype(bool)
    plain = {name: entry[name] for name in _PLAIN if entry.get(name) is not None}
    proof: Any = entry.get('faithfulness')
    return Explanation(
        maps=own,
        trace=entry['trace'],
        box=None if entry['box'] is None else np.array(entry['box'], np.float32),
        region=region,
        faithfulness=None if proof is None else Told(proof['label']),
        **{**plain, 'notes': tuple(plain.get('notes', ()))},
    )
