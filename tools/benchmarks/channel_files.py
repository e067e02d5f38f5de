"""Write every channel of a map to files: ``python channel_files.py sheets|split|full|loop CHANNELS``.

Prints the seconds and the megabytes by which memory grew, of a fresh process, after a first small draw.
"""

from __future__ import annotations

import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).resolve()
SIDE, CELLS = 384, 12


def main(way: str, channels: int) -> tuple[float, float]:
    """Seconds, and megabytes by which the peak of the resident size grew."""
    import numpy as np

    from featmap.geometry import ImageGeometry
    from featmap.structures import FeatureMap

    memory = import_module('memory')
    image = _image()
    values = np.random.default_rng(0).random((channels, CELLS, CELLS), dtype=np.float32)
    stride = SIDE / CELLS
    item = FeatureMap(
        values, 'backbone.layer4', values.shape, (stride, stride), ImageGeometry.whole((SIDE, SIDE)),
        reducer='channels', channels=tuple(range(channels)),
    )  # fmt: skip
    draw = _loop if way == 'loop' else _featmap(way)
    with tempfile.TemporaryDirectory() as scratch:
        for number, some in enumerate((item.values[:2], item.values)):  # the first is to warm up
            folder = Path(scratch) / str(number)
            folder.mkdir()
            before, start = memory.settle(), time.perf_counter()
            draw(image, item, some, folder)
    return time.perf_counter() - start, (memory.peak() - before) / 1e6


def _featmap(way: str) -> Any:
    from dataclasses import replace
    from functools import partial

    from featmap.drawer import MapDrawer
    from featmap.options import Run
    from featmap.results import Result

    drawer = MapDrawer(Run.of({'panel_size': 'full'} if way == 'full' else {}))

    def draw(image: Any, item: Any, some: Any, folder: Path) -> None:
        part = replace(item, values=some, channels=item.channels[: len(some)])
        pages = drawer.draw_sheets(image, [part]) if way == 'sheets' else ()
        panels = partial(drawer.draw_panels, image, [part])
        result = Result('image.png', pages, (part,), None, image, draw_panels=panels)
        if way == 'sheets':
            result.save(folder / 'image.png')
        else:
            result.save_split(folder, 'jpg' if way == 'full' else 'png')

    return draw


def _image() -> Any:
    import cv2
    import numpy as np

    image = cv2.imread(str(SCRIPT.parents[2] / 'demo' / 'demo.jpg'), cv2.IMREAD_COLOR)
    assert image is not None
    return np.ascontiguousarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., ::-1])


def _loop(image: Any, item: Any, some: Any, folder: Path) -> None:
    """What a script does: resize, normalise, colour, blend, write."""
    import cv2

    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    for number, plane in enumerate(some):
        large = cv2.resize(plane, (SIDE, SIDE))
        levels = ((large - large.min()) / (large.max() - large.min()) * 255).astype('uint8')
        picture = cv2.addWeighted(bgr, 0.5, cv2.applyColorMap(levels, cv2.COLORMAP_JET), 0.5, 0)
        cv2.imwrite(str(folder / f'{number}.jpg'), picture)


if __name__ == '__main__':
    print('{:.3f} {:.1f}'.format(*main(sys.argv[1], int(sys.argv[2]))))
