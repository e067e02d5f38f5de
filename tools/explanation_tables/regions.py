"""``regions``: of a segmentation each class that is predicted over more than specks of the image, in turn."""

from __future__ import annotations

import numpy as np

from featmap.errors import TargetError
from featmap.registry import TARGETS
from featmap.targets import Chosen, Scene, Target, TargetSpec
from featmap.targets.regions import of_region

SMALLEST = 0.005
"""Of the image: a class that is predicted over less is left out."""


@TARGETS.register_module(name='regions')
class Regions(Target):
    """``regions``: what ``class:NAME`` is, of each class but a background."""

    kinds = ('segments',)

    def choose(self, spec: TargetSpec, scene: Scene) -> list[Chosen]:
        """In the order of the classes; none where no region is large enough."""
        found = scene.answers.detections
        if found is None or found.segments is None:
            raise TargetError('no class is predicted at any pixel')
        numbers = found.segments.numbers
        shares = np.bincount(numbers.ravel(), minlength=1 + len(found.segments.labels))[1:] / numbers.size
        labels = sorted(int(label) for label, share in zip(found.segments.labels, shares) if share >= SMALLEST)
        return [one for label in labels for one in of_region(TargetSpec('class', str(label)), scene)]
