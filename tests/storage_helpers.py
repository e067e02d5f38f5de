"""Raw maps to save, and what tells whether they came back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featmap.geometry import ImageGeometry
from featmap.storage import SavedImage, load_maps, save_maps, sidecar_of
from featmap.structures import FeatureMap

SHAPE = (60, 100)
PICTURE = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
LETTERBOXED = ImageGeometry(SHAPE, (96, 96), (0.96, 0.9599999785), (0, 19), (True, False))


def a_map(kind: str = 'heat', planes: int = 3, **fields: Any) -> FeatureMap:
    """A 12 x 12 map of a letterboxed image."""
    values = np.random.default_rng(planes).random((planes, 12, 12), dtype=np.float32)
    if kind == 'segments':
        values = np.floor(values * 4)
    fields = {'values': values, 'layer': 'neck', 'reducer': 'r', 'channels': (None,) * planes, **fields}
    return FeatureMap(shape=(64, 12, 12), stride=(8.0, 8.0), geometry=LETTERBOXED, kind=kind, **fields)


def a_record(*maps: FeatureMap, **fields: Any) -> SavedImage:
    return SavedImage(**{'name': 'dog.jpg', 'location': '', 'image_shape': SHAPE, 'maps': maps, **fields})


def round_trip(folder: Path, saved: SavedImage, features: bool = False, suffix: str = '.npz') -> SavedImage:
    return load_maps(save_maps(folder / f'maps{suffix}', saved, features))


def sidecar(path: Path) -> dict[str, Any]:
    """The JSON beside a data file, read by a reader that knows no NaN."""
    return json.loads(sidecar_of(path).read_text(encoding='utf-8'), parse_constant=pytest.fail)


def rewrite(path: Path, **changes: Any) -> None:
    sidecar_of(path).write_text(json.dumps({**sidecar(path), **changes}), encoding='utf-8')


def assert_same_array(found: np.ndarray | None, expected: np.ndarray | None) -> None:
    if expected is None or found is None:
        assert found is expected
        return
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()  # NaNs and signed zeros too


def assert_same_map(found: FeatureMap, expected: FeatureMap) -> None:
    for field in dataclasses.fields(FeatureMap):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if field.name == 'pca' and one is not None and other is not None:
            assert_same_map(one, other)
        elif field.name in ('values', 'features'):
            assert_same_array(one, other)
        else:
            assert (repr(one), one) == (repr(other), other), field.name


def forge(path: Path, data: bytes) -> None:
    """Put other data there, with a sidecar that vouches for them."""
    path.write_bytes(data)
    rewrite(path, data={'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()})
