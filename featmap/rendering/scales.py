"""The range of every plane of one image's maps, by the rule that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from featmap.errors import DrawError
from featmap.norm import Norm
from featmap.rendering.normalize import Range, value_range
from featmap.structures import FeatureMap

MAP_NORM = Norm()


def scales_of(maps: Sequence[FeatureMap], norm: Norm = MAP_NORM, run: Range | None = None) -> list[tuple[Range, ...]]:
    """For each map, the range of each of its planes.

    Args:
        maps: The maps of one image.
        norm: The rule.
        run: With ``norm`` of kind ``run``, the range of the whole run; see :func:`run_range`.

    Raises:
        DrawError: where a plane holds no finite value on the image.
    """
    if not maps:
        return []
    own = [_own_ranges(item) for item in maps]
    if norm.kind == 'layer':
        layers: dict[str, Range] = {}
        for item, ranges in zip(maps, own):
            layers[item.layer] = union(([layers[item.layer]] if item.layer in layers else []) + list(ranges))
        shared = [tuple(_put(r, layers[item.layer]) for r in ranges) for item, ranges in zip(maps, own)]
    elif norm.kind in ('image', 'run'):
        whole = (run if norm.kind == 'run' else None) or union(r for ranges in own for r in ranges)
        shared = [tuple(_put(r, whole) for r in ranges) for ranges in own]
    elif norm.kind == 'fixed':
        fixed = Range(norm.low, norm.high)
        shared = [tuple(_put(r, fixed) for r in ranges) for ranges in own]
    elif norm.kind == 'percentile':
        shared = [_percentiles(item, ranges, norm) for item, ranges in zip(maps, own)]
    else:
        shared = [_together(ranges) if item.kind != 'heat' else ranges for item, ranges in zip(maps, own)]
    if norm.symmetric:
        shared = [tuple(_symmetric(r) for r in ranges) for ranges in shared]
    return [_given(item, ranges) for item, ranges in zip(maps, shared)]


def run_range(maps: Iterable[FeatureMap], before: Range | None = None) -> Range | None:
    """The range of all planes of these maps and of what came before: order does not matter."""
    found = [r for item in maps for r in _own_ranges(item)]
    return union(([before] if before else []) + found) if found or before else None


def union(ranges: Iterable[Range]) -> Range:
    """The least range that holds all of these."""
    ranges = list(ranges)
    return Range(min(r.low for r in ranges), max(r.high for r in ranges), noise=max(r.noise for r in ranges))


def _own_ranges(item: FeatureMap) -> tuple[Range, ...]:
    ranges = []
    for plane, noise in zip(item.content, item.noise or (0.0,) * len(item)):
        found = value_range(plane, noise)
        if found is None:
            raise DrawError(
                f'{item.name} holds no finite value: all {plane.size} cells on the image are NaN or infinite; check '
                'the checkpoint and the input range'
            )
        ranges.append(found)
    return tuple(ranges)


def _together(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """Planes that make one picture share one scale."""
    whole = union(ranges)
    return tuple(_put(r, whole) for r in ranges)


def _put(own: Range, scale: Range) -> Range:
    return replace(scale, bad=own.bad)


def _percentiles(item: FeatureMap, own: tuple[Range, ...], norm: Norm) -> tuple[Range, ...]:
    if item.kind != 'heat':
        return tuple(_put(before, _percentile(item.content, union(own), norm)) for before in own)
    return tuple(_put(before, _percentile(plane, before, norm)) for plane, before in zip(item.content, own))


def _percentile(values: np.ndarray, own: Range, norm: Norm) -> Range:
    if own.constant:
        return own
    low, high = np.percentile(values[np.isfinite(values)], [norm.low, norm.high])
    # Where most cells are alike both percentiles are: a flat picture would hide the others.
    return Range(float(low), float(high), noise=own.noise) if high - low > own.noise else own


def _symmetric(scale: Range) -> Range:
    reach = max(abs(scale.low), abs(scale.high))
    return Range(-reach, reach, scale.bad, scale.noise, 128)  # a constant 0 has the colour of 0


def _given(item: FeatureMap, ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """Ranges that the reducer itself fixed, such as those of a basis, stand above any rule."""
    if not item.ranges:
        return ranges
    return tuple(Range(low, high, r.bad, r.noise) for (low, high), r in zip(item.ranges, ranges))
