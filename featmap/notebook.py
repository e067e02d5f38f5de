"""How pictures show themselves in notebooks."""

from __future__ import annotations

import numpy as np

_LONGEST = 1600  # pixels; wider pictures are scaled down by the browser anyway, and swell the notebook's file


def screen_png(image: np.ndarray) -> bytes:
    """An (H, W, 3) RGB uint8 picture as PNG of a screen's size."""
    import cv2

    height, width = image.shape[:2]
    scale = _LONGEST / max(height, width)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode('.png', cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR))
    assert done  # PNG takes any RGB picture of this size
    return data.tobytes()
