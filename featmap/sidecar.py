"""What may stand in the JSON file beside raw maps; see :mod:`featmap.storage` for what each entry means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from featmap.classification import KINDS as CLASSIFIED
from featmap.schema import Check, SchemaError, flag, many, mapping, maybe, number, one_of, record, text, whole
from featmap.stored_explanations import ENTRY as EXPLANATION
from featmap.structures import KINDS
from featmap.tokens import Tokens

_MOST = 1 << 24
"""No image, layer or list of channels is longer."""
_MOST_PIXELS = 1 << 30
_pixels = whole(1, _MOST)
_pair_of_pixels = many(_pixels, 2)
_range = many(maybe(number()), 2)  # JSON has no NaN: None stands for it

_geometry = record(
    {
        'image_shape': _pair_of_pixels,
        'input_shape': _pair_of_pixels,
        'scale': many(number(1e-6, 1e6), 2),
        'offset': many(number(-_MOST, _MOST), 2),
        'flip': many(flag, 2),
    },
    {'crop': maybe(many(number(-_MOST, _MOST), 4))},
)


def _tokens(value: Any, place: str) -> Tokens:
    entry = record({'count': whole(1, _MOST_PIXELS), 'left_out': whole(0, _MOST_PIXELS), 'known': flag})(value, place)
    return Tokens(entry['count'], entry['left_out'], entry['known'])


_map = record(
    {
        'layer': text(),
        'call': whole(0, _MOST),
        'calls': whole(1, _MOST),
        'path': text(),
        'shape': many(_pixels, 3),
        'stride': many(number(1e-6, _MOST), 2),
        'reducer': text(),
        'kind': one_of(*KINDS),
        'channels': many(maybe(whole(0, _MOST))),
        'names': many(text()),
        'fixed_ranges': many(_range),
        'geometry': _geometry,
        'arrays': record({'values': text(), 'features': maybe(text())}),
    },
    {
        'meaning': text(),
        'noise': many(number(0)),
        'why': many(text()),
        'note': text(),
        'stride_known': flag,
        'tokens': maybe(_tokens),
        'offset': many(number(-_MOST, _MOST), 2),
        'query': maybe(many(number(0, _MOST), 2)),
        'pca': maybe(
            record(
                {
                    'channels': many(maybe(whole(0, _MOST)), 3),
                    'names': many(text()),
                    'fixed_ranges': many(_range),
                    'noise': many(number(0)),
                    'values': text(),
                }
            )
        ),
    },
)

_results = record(
    {'classes': many(text())},
    {
        'palette': many(many(whole(0, 255), 3)),
        'masks': flag,
        'segments': maybe(
            record(
                {'kind': text(), 'labels': many(whole(0, _MOST)), 'type': one_of('uint8', 'uint16'), 'coding': text()}
            )
        ),
        'kind': text(),
        'boxed': flag,
        'undrawn': many(text()),
        'classification': maybe(
            record(
                {
                    'labels': many(whole(0, _MOST)),
                    'scores': many(number(0, 1)),
                    'kind': one_of(*CLASSIFIED),
                    'of': whole(0, _MOST),
                }
            )
        ),
    },
)


_truth = record(
    {
        'boxes': many(many(number(-_MOST, _MOST), 4)),
        'labels': many(whole(0, _MOST)),
        'crowd': many(flag),
        'ignored': many(flag),
        'left_out': whole(0, _MOST),
    }
)


def _image(value: object, place: str) -> dict[str, object]:
    found = record({'name': text(), 'location': text(), 'height': _pixels, 'width': _pixels})(value, place)
    if found['height'] * found['width'] > _MOST_PIXELS:
        raise SchemaError(f'{place}.width', found['width'], f'no more than {_MOST_PIXELS} pixels in all')
    return found


def _run_range(value: object, place: str) -> tuple[float, ...]:
    low, high, *noise = many(number(), 3 if isinstance(value, (list, tuple)) and len(value) == 3 else 2)(value, place)
    return low, high, *noise


SIDECAR: Check = record(
    {
        'data': record({'bytes': whole(0, 1 << 50), 'sha256': text(64)}),
        'image': _image,
        'provenance': record({}, {'settings': maybe(mapping())}),
        'run_range': maybe(_run_range),
        'detections': maybe(_results),
        'maps': many(_map, most=100_000),
    },
    {'ground_truth': maybe(_truth), 'explanations': many(EXPLANATION)},
)


def plain(value: Any) -> Any:
    """As strict JSON holds it: non-finite numbers become None, what is unknown its text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    # Not its text, which holds an address that differs from run to run.
    return f'{value.__module__}.{value.__qualname__}' if hasattr(value, '__qualname__') else str(value)
