"""How large panels may be for their picture to stay a file that can be sent: a look at what compresses."""

from __future__ import annotations

import math

import numpy as np

from featmap.crop import PANEL_SIZE
from featmap.rendering.panels import Look

LIMIT = 7.4e6  # bytes of the PNG, so that labels and the error of the estimate stay within 8 MB
_LEAST, _LEAST_SMALL = 640, 1024  # pixels; shorter panels of a large image show too little, small images are kept
_ROWS = 96


def bytes_a_pixel(picture: np.ndarray, strength: float = 1.0) -> float:
    """Bytes that a PNG takes, about, for a pixel of an (H, W, 3) RGB uint8 picture seen at a strength from 0 to 1.

    The entropy of what the better of PNG's two simple filters leaves of a sample of rows.
    """
    height = picture.shape[0]
    rows = np.unique(np.linspace(0, max(height - 2, 0), _ROWS).astype(np.intp))
    upper, lower = (
        np.round(picture[rows + down] * np.float32(strength)).astype(np.int16) for down in (0, min(1, height - 1))
    )
    return 3 / 8 * min(_entropy(lower[:, 1:] - lower[:, :-1]), _entropy(lower - upper))


def fitting(picture: np.ndarray, heats: int, look: Look, image_shape: tuple[int, int], plain: int = 1) -> int:
    """The longer side at which panels of an (H, W, 3) picture stay within bounds, in pixels.

    That of the picture where they do already. Never less than 640, or 1024 where the image, of ``image_shape``
    (height, width), is itself no longer than a panel, unless panels stand in rows.

    Args:
        picture: The image at the size of a panel, RGB uint8.
        heats: Panels under heat.
        look: How they look.
        image_shape: Height and width of the original.
        plain: Panels of the picture itself.
    """
    pixels, longest = picture.shape[0] * picture.shape[1], max(picture.shape[:2])
    least = _LEAST if look.panels or max(image_shape) > PANEL_SIZE else _LEAST_SMALL
    if longest <= least or 3 * pixels * (plain + heats) <= LIMIT:
        return longest
    under = bytes_a_pixel(look.backdrop(picture), 1 - look.opacity) if heats else 0.0
    need = pixels * (plain * bytes_a_pixel(picture) + heats * under)
    return longest if need <= LIMIT else max(math.floor(longest * 0.99 * math.sqrt(LIMIT / need)), least)


def _entropy(differences: np.ndarray) -> float:
    """Bits a value."""
    counts = np.bincount(differences.astype(np.uint8).ravel(), minlength=256)
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum())
