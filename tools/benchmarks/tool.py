"""This project's tool and the bare network, as calls to measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.context import Context
from featmap import ActivationRecorder, FeatMapInferencer
from featmap.layouts import maps_of
from featmap.reducers import reduce
from featmap.sinks import save_image
from featmap.sources import list_sources


class FeatmapTool:
    """The whole tool for one image, file to file, after start-up.

    Args:
        context: Config, device and image.
        checkpoint: Weights.
        layers: What to draw.
        boxes: Whether to draw detections.
        amp: Whether to run in half precision.
    """

    def __init__(
        self,
        context: Context,
        checkpoint: Path,
        layers: tuple[str, ...] = ('neck',),
        boxes: bool = True,
        amp: bool = False,
    ) -> None:
        options: dict[str, Any] = {'amp': amp, 'boxes': boxes, **({'score_thr': 0.3} if boxes else {})}
        self.inferencer = FeatMapInferencer(
            context.config,
            checkpoint,
            device=str(context.device),
            target_layers=layers,
            channel_reduction='select_max',
            **options,
        )
        self.amp = amp
        self.source = list_sources(context.image())[0]
        # The yardstick is what OpenMMLab runs; the tool is quicker by its inputs and while it runs, not by its model.
        self._inputs = self.inferencer.network.prepare([self.source.read()], contiguous=True).inputs

    def __call__(self, out: Path) -> None:
        """Draw the image and write the picture."""
        save_image(self.inferencer.draw(self.source).image, out)

    def boxes_drawn(self) -> int:
        """How many detections the picture has."""
        detections = self.inferencer.draw(self.source).predictions
        return 0 if detections is None else len(detections)

    def forward(self) -> None:
        """The bare network on the input as it is after preprocessing: backbone, neck and head, no post-processing."""
        half = torch.float16 if self._inputs.is_cuda else torch.bfloat16
        with torch.no_grad(), torch.autocast(self._inputs.device.type, dtype=half, enabled=self.amp):
            self.inferencer.model(self._inputs, mode='tensor')

    def recorded_forward(self) -> None:
        """The same, with the layers recorded and reduced in their hooks."""
        shape = (int(self._inputs.shape[-2]), int(self._inputs.shape[-1]))

        def consume(target: Any, output: Any) -> list[Any]:
            found = maps_of(output, shape, 1, target.path, target.name)
            maps = [item.features[0] for item in found]
            return [reduce(self.inferencer.reducer, one, torch.ones_like(one[0], dtype=torch.float32)) for one in maps]

        names = [target.name for target in self.inferencer.targets]
        with ActivationRecorder(self.inferencer.model, names, consume):
            self.forward()
