"""Pictures for MMEngine's vis backends, each in the way that suits it."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.visualization import LocalVisBackend, TensorboardVisBackend

from featmap.file_names import file_name
from featmap.png import encode_png


def add_image(backend: Any, name: str, image: np.ndarray, step: int = 0) -> None:
    """Write a picture to a vis backend.

    Args:
        backend: The backend.
        name: A tag, in which slashes make groups; where it becomes a file's name, they are dots.
        image: (H, W, 3) RGB uint8.
        step: What the backend counts by.
    """
    if isinstance(backend, LocalVisBackend):
        # OpenCV, by which it writes, says nothing where a folder is missing.
        backend.add_image(file_name(name), image, step)
    elif type(backend) is not TensorboardVisBackend or not _add_to_events(backend.experiment, name, image, step):
        backend.add_image(name, image, step)


def _add_to_events(writer: Any, tag: str, image: np.ndarray, step: int) -> bool:
    """Write the event that PyTorch's writer would, whose own encoder takes ten times as long as drawing the picture."""
    from torch.utils.tensorboard import SummaryWriter

    if type(writer) is not SummaryWriter or writer.file_writer is None:
        return False
    from tensorboard.compat.proto.summary_pb2 import Summary

    height, width = image.shape[:2]
    picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode_png(image))
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=picture)]), step)
    return True
