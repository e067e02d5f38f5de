#!/usr/bin/env python3
"""Measure whether maps are better placed calibrated than on nominal cells: ``python tools/measure_placement.py``.

The shipped detector looks at held-out scenes. Printed for each output of its backbone and neck: how far the map is from
the mirrored map of the mirrored scene, and which share of the heat lies in the boxes of the drawn objects.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from demo_scenes import draw_scene  # noqa: E402

from featmap.calibration import IMAGES  # noqa: E402
from featmap.extractor import MapExtractor  # noqa: E402
from featmap.models.openmmlab.detector import Detector  # noqa: E402
from featmap.placement import Placement  # noqa: E402
from featmap.reducers import build_reducer  # noqa: E402
from featmap.structures import FeatureMap  # noqa: E402

SIZES = ((640, 400), (480, 640), (640, 640))
HELD_OUT, OTHERS = 1_000_000, 2_000_000
REDUCERS = ('l2', 'squeeze_mean', 'select_max')
LAYERS = ('backbone', 'neck')


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture and its boxes (N, 4)."""
    return draw_scene(seed, SIZES[seed % len(SIZES)])[:2]


def share_in_boxes(item: FeatureMap, boxes: np.ndarray) -> float:
    """Of all heat above the map's lowest, drawn on the image, the share inside of boxes."""
    heat = item.geometry.warp(item.values, item.stride, item.offset)[0]
    heat = heat - item.content.min()
    inside = np.zeros(heat.shape, bool)
    for left, top, right, bottom in boxes.astype(int):
        inside[top:bottom, left:right] = True
    return float(np.maximum(heat, 0)[inside].sum() / np.maximum(heat, 0).sum())


def residuals(extractor: MapExtractor, seeds: Sequence[int]) -> dict[str, tuple[float, float]]:
    """By output, how many cells (down, right) heat is drawn from what excites it, by mirror images."""
    offsets = {str(key): offset for key, offset in extractor.placement._shifts.items()}
    other = Placement(extractor.network.model)
    extractor.placement, own = other, extractor.placement
    for seed in seeds:
        extractor.mirror(scene(seed)[0])
    extractor.placement = own
    found = {}
    for output, displaced in other._displaced.items():
        rows, columns = displaced.rows.estimate(), displaced.columns.estimate()
        oy, ox = offsets.get(str(output), (0.0, 0.0))
        found[output[0].name + output[2]] = (rows[0] + oy if rows else np.nan, columns[0] + ox if columns else np.nan)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--scenes', type=int, default=100, help='held-out scenes whose heat is measured')
    parser.add_argument('--mirrored', type=int, default=20, help='held-out scenes that are mirrored for the residual')
    given = parser.parse_args()
    detector = Detector(ROOT / 'configs/demo/yolov5_n_demo.py', ROOT / 'demo/yolov5_n_demo.pth', device='cpu')

    extractors = {name: MapExtractor(detector, LAYERS, build_reducer(name), name, boxes=False) for name in REDUCERS}
    first = extractors[REDUCERS[0]]
    nominal = residuals(first, range(HELD_OUT, HELD_OUT + given.mirrored))
    for seed in range(OTHERS, OTHERS + IMAGES):
        first.mirror(scene(seed)[0])
    first.placement.calibrate()
    calibrated = residuals(first, range(HELD_OUT, HELD_OUT + given.mirrored))
    print(f'{"cells down, right":<20}{"nominal":>18}{"calibrated":>18}')
    for name in nominal:
        print(f'{name:<20}' + ''.join(f'{y:>+10.3f}, {x:>+.3f}' for y, x in (nominal[name], calibrated[name])))

    shifts = {output[0].name + output[2]: offset for output, offset in first.placement._shifts.items()}
    seen = next(iter(first.placement._seen.values()))
    middles = {output[0].name + output[2]: place.offset for output, place in seen.places.items()}
    shares: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(HELD_OUT, HELD_OUT + given.scenes):
        image, boxes = scene(seed)
        for reducer, extractor in extractors.items():
            extractor.placement = Placement(detector.model) if seed == HELD_OUT else extractor.placement
            for item in extractor.extract(image)[0]:
                each = [item, *(replace(item, offset=places[item.name]) for places in (shifts, middles))]
                shares.setdefault((reducer, item.name), []).append([share_in_boxes(one, boxes) for one in each])
    print(f'\n{"heat in boxes":<36}{"nominal":>9}{"calibrated":>12}{"difference":>18}{"arithmetic":>12}')
    for (reducer, name), found in shares.items():
        low, high, middle = np.mean(found, axis=0)
        gain = np.subtract(*np.transpose(found)[[1, 0]])
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        print(f'{reducer:<16}{name:<20}{low:>9.4f}{high:>12.4f}{gain.mean():>+10.4f} ± {error:.4f}{middle:>12.4f}')


if __name__ == '__main__':
    main()
