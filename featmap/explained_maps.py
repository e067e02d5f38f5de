"""Heats of layers as maps with their places, and as the one map of an explanation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featmap.explainers.base import Explainer, Heat
from featmap.explanation import Explanation
from featmap.geometry import ImageGeometry
from featmap.structures import FeatureMap
from featmap.targets import Chosen


def explanations_of(
    chosen: Chosen,
    method: Explainer,
    of_parts: Sequence[Sequence[Heat]],
    geometry: ImageGeometry,
    fuse: str,
    note: str = '',
) -> Iterator[Explanation]:
    """What a method found of a target: one explanation, or one for each map where they are left apart.

    Args:
        chosen: The target.
        method: The method.
        of_parts: Its heats of the layers, for each part of the target; of all parts the element-wise maximum is taken,
            as ODAM combines the score and the sides of a box (2304.06354).
        geometry: How the image lies in the network input.
        fuse: See :data:`featmap.options.explain.FUSIONS`.
        note: What has to be known of all values, such as ``random weights``.
    """
    about: dict[str, Any] = {
        'label': chosen.label, 'method': method.name, 'trace': chosen.trace, 'box': chosen.box,
        'score': chosen.score, 'class_index': chosen.class_index, 'index': chosen.index, 'region': chosen.region,
        'part': chosen.part, 'fuse': fuse, 'class_agnostic': method.class_agnostic,
    }  # fmt: skip
    notes = [*chosen.notes, *dict.fromkeys(heat.note for heats in of_parts for heat in heats if heat.note)]
    maps: list[FeatureMap] = []
    for same in _alike(of_parts):
        values = np.max([_within(heat, geometry) for heat in same], axis=0)
        maps.append(_map(same[0], values, method.name, geometry, note))
    for group in [[item] for item in maps] if fuse == 'none' else [maps]:
        yield Explanation(maps=tuple(group), notes=tuple(notes), **about)


def _alike(of_parts: Sequence[Sequence[Heat]]) -> list[list[Heat]]:
    """The heats of all parts, by the output that they are of."""
    found: dict[tuple[str, str, int], list[Heat]] = {}
    for heats in of_parts:
        for heat in heats:
            found.setdefault((heat.layer, heat.path, heat.call), []).append(heat)
    return list(found.values())


def _within(heat: Heat, geometry: ImageGeometry) -> np.ndarray:
    """(h, w) of 0 to 1: its maximum over the cells on the image is 1."""
    values = heat.values.float().cpu().numpy()
    rows, columns = geometry.content_cells(values.shape, heat.cells.stride, heat.cells.offset)  # type: ignore[arg-type]
    inside = values[rows, columns]
    most = float(inside[np.isfinite(inside)].max(initial=0.0))
    return np.clip(values / most, 0, 1) if most > 0 else np.zeros_like(values)


def _map(heat: Heat, values: np.ndarray, method: str, geometry: ImageGeometry, note: str) -> FeatureMap:
    return FeatureMap(
        values=values[None],
        layer=heat.layer or 'input',
        shape=(heat.shape[0] if heat.shape else 1, *values.shape),  # type: ignore[arg-type]
        stride=heat.cells.stride,
        geometry=geometry,
        path=heat.path,
        call=heat.call,
        calls=heat.calls,
        reducer=method,
        channels=(None,),
        ranges=((0.0, 1.0),),
        note=note,
        offset=heat.cells.offset,
        stride_known=heat.cells.known,
        tokens=heat.tokens,
    )
