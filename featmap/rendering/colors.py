"""Colour maps and the blend with the image. All pictures here are RGB."""

from __future__ import annotations

import colorsys
from functools import cache

import cv2
import numpy as np

from featmap.errors import OptionError, nearest

_OPENCV = {name[len('COLORMAP_') :].lower(): getattr(cv2, name) for name in dir(cv2) if name.startswith('COLORMAP_')}


_RAINBOWS = {'jet', 'turbo', 'rainbow', 'hsv', 'parula', 'gist_rainbow', 'nipy_spectral', 'gist_ncar'}


def background_for(colormap: str) -> str:
    """What reads best under a colour map: the image under the rainbows, whose colours outshine it, else its grey.

    Over a photograph's own colours the pale middle of a diverging map, and the one hue of a sequential one, are lost.
    """
    return 'image' if colormap.lower().removesuffix('_r') in _RAINBOWS else 'grey'


def opacity_over(background: str) -> float:
    """The opacity of the heat that reads best: pale maps need more, and a grey image can bear it."""
    return 0.7 if background == 'grey' else 0.5


@cache
def color_table(name: str) -> np.ndarray:
    """The colour map's 256 RGB colours as (256, 3) uint8: OpenCV's of that name, else matplotlib's.

    Raises:
        OptionError: for a name that neither knows.
    """
    if name.lower() in _OPENCV:
        ramp = np.arange(256, dtype=np.uint8)[:, None]
        table = cv2.applyColorMap(ramp, _OPENCV[name.lower()])[:, 0, ::-1]
    else:
        import matplotlib

        known = sorted(set(_OPENCV) | set(matplotlib.colormaps))
        if name not in matplotlib.colormaps:
            raise OptionError(f'no colour map is called {name!r}; nearest: {", ".join(nearest(name, known))}')
        table = np.round(matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).astype(np.uint8)
    table = np.ascontiguousarray(table)
    table.setflags(write=False)
    return table


def colorize(levels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Grey levels (H, W) uint8 to RGB (H, W, 3) by a (256, 3) table."""
    return cv2.applyColorMap(levels, table.reshape(256, 1, 3))


@cache
def categories(count: int) -> np.ndarray:
    """Colours for numbers without order, (count, 3) RGB uint8: neighbours are far apart in hue."""
    hues = (0.58 + np.arange(count) * 0.61803) % 1.0
    values = 0.95 - 0.25 * (np.arange(count) // 8 % 2)
    rgb = [colorsys.hsv_to_rgb(hue, 0.8, value) for hue, value in zip(hues, values)]
    return np.round(np.array(rgb).reshape(count, 3) * 255).astype(np.uint8)


def blend(image: np.ndarray, heat: np.ndarray, alpha: float, visible: np.ndarray | None = None) -> np.ndarray:
    """``image`` under ``heat``: alpha 0 is the image, 1 the heat. Where ``visible`` is False the image stays."""
    mixed = cv2.addWeighted(image, 1 - alpha, heat, alpha, 0)
    if visible is not None:
        mixed[~visible] = image[~visible]
    return mixed


def faded(image: np.ndarray) -> np.ndarray:
    """An (H, W, 3) RGB uint8 image in grey, from 80 to 233: so that dark and bright parts show the heat's hue alike."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.cvtColor(cv2.convertScaleAbs(grey, alpha=0.6, beta=80), cv2.COLOR_GRAY2RGB)


def withdrawn(image: np.ndarray, kept: tuple[slice, slice] | None) -> np.ndarray:
    """An (H, W, 3) RGB uint8 image whose rows and columns outside of the kept ones are in weak grey; None keeps all."""
    if kept is None:
        return image
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    weak = cv2.cvtColor(cv2.convertScaleAbs(grey, alpha=0.3, beta=100), cv2.COLOR_GRAY2RGB)
    weak[kept] = image[kept]
    return weak


def tones(image: np.ndarray, count: int = 16) -> np.ndarray:
    """Grey levels of an (H, W, 3) RGB uint8 image from light to dark, but for the extremes: (count,) uint8."""
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    filled = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().cumsum()
    dark, light = np.searchsorted(filled, [0.1 * grey.size, 0.9 * grey.size])
    return np.linspace(light, dark, count).round().astype(np.uint8)
