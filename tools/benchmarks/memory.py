"""How much memory one draw takes: ``python memory.py featmap|mmengine CHANNELS`` prints megabytes.

Each draw has a fresh process.

The peak of the process's resident size counts what torch, NumPy and OpenCV allocate alike. It is reset before the draw,
after all imports and a tiny draw.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
import warnings
from importlib import import_module
from pathlib import Path

SCRIPT = Path(__file__).resolve()
VISUALIZERS = {
    'featmap': ('featmap.visualizer', 'FeatMapVisualizer'),
    'mmengine': ('mmengine.visualization', 'Visualizer'),
}


def main(who: str, channels: int) -> float:
    """Megabytes by which drawing (channels, 20, 20) onto 1333x800 raises the peak."""
    import numpy as np
    import torch

    module, name = VISUALIZERS[who]
    visualizer = getattr(import_module(module), name)

    warnings.simplefilter('ignore')
    image = np.zeros((800, 1333, 3), dtype=np.uint8)
    image[:] = np.arange(1333, dtype=np.uint8)[:, None]  # pages that are only zero may not be resident
    features = torch.randn(channels, 20, 20)
    with torch.no_grad():
        visualizer.draw_featmap(features[:4, :2, :2], image[:16, :16], 'squeeze_mean')
        before = settle()
        visualizer.draw_featmap(features, image, 'squeeze_mean')
    return (peak() - before) / 1e6


def settle() -> int:
    """Give back what is free, reset the peak where the system can, and return the resident size in bytes.

    Where it cannot, the peak so far is returned, which makes the growth a lower bound.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path('/proc/self/clear_refs').write_text('5', encoding='ascii')
        return _status('VmRSS')
    except OSError:
        return peak()


def peak() -> int:
    """The largest resident size so far, or since the reset, in bytes."""
    try:
        return _status('VmHWM')
    except OSError:
        unit = 1 if sys.platform == 'darwin' else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int:
    for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024
    raise OSError(f'the kernel tells no {name}')


if __name__ == '__main__':
    print(f'{main(sys.argv[1], int(sys.argv[2])):.3f}')
