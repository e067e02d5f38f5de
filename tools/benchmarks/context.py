"""What all benchmarks are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.measure import Call, interleave

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Context:
    """Where and how often to measure, and a folder for temporary files.

    Attributes:
        scratch: A folder that is removed at the end.
        device: To run on.
        rounds: Turns of each candidate.
        warmup: Unmeasured rounds before.
        amp: Whether to measure half precision too.
        config, checkpoint: The detector of the end-to-end benchmarks; None for YOLOv5-s with made-up weights.
    """

    scratch: Path
    device: torch.device
    rounds: int = 7
    warmup: int = 1
    amp: bool = False
    config: Path = ROOT / 'configs' / 'yolov5' / 'yolov5_s-v61_syncbn_8xb16-300e_coco.py'
    checkpoint: Path | None = None

    def interleave(self, calls: Mapping[str, Call]) -> dict[str, float]:
        """Median seconds of each call; see :func:`benchmarks.measure.interleave`."""
        return interleave(calls, self.rounds, self.warmup, self.device)

    def image(self) -> Path:
        """The demo image at 640x480, as a file."""
        path = self.scratch / 'image.jpg'
        if not path.exists():
            cv2.imwrite(str(path), demo_image()[..., ::-1])
        return path


def demo_image(width: int = 640, height: int = 480) -> np.ndarray:
    """The demo image in this size: (H, W, 3) RGB uint8."""
    image = cv2.imread(str(ROOT / 'demo' / 'demo.jpg'), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(ROOT / 'demo' / 'demo.jpg')
    return np.ascontiguousarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1])
