"""What MMYOLO's featmap_vis_demo does with an image, by the functions of MMYOLO, MMDetection and MMEngine.

The demo itself is not part of the installed package. As a process:
``python peer.py IMAGE CONFIG CHECKPOINT OUT [DEVICE]`` draws ``neck`` by ``select_max``.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).resolve()


class PeerTool:
    """Loads a detector and draws images.

    Args:
        config, checkpoint: Files.
        device: Such as ``cpu``.
        layers: Dotted names of layers.
        score_thr: Boxes from this score up are drawn.

    Raises:
        ImportError: where one of the packages is not installed.
    """

    def __init__(
        self,
        config: Path,
        checkpoint: Path,
        device: str = 'cpu',
        layers: Sequence[str] = ('neck',),
        score_thr: float = 0.3,
    ) -> None:
        from featmap.models.openmmlab.mmcv_ops import ensure_ops

        ensure_ops()
        import mmcv
        from mmdet.apis import inference_detector, init_detector
        from mmyolo.registry import VISUALIZERS
        from mmyolo.utils.misc import auto_arrange_images

        self._mmcv, self._infer, self._arrange = mmcv, inference_detector, auto_arrange_images
        self.model = init_detector(str(config), str(checkpoint), device=device)
        self.visualizer = VISUALIZERS.build(self.model.cfg.visualizer)
        self.visualizer.dataset_meta = self.model.dataset_meta
        self.score_thr = score_thr
        self._outputs: list[Any] = []
        for name in layers:
            self.model.get_submodule(name).register_forward_hook(lambda *call: self._outputs.append(call[2]))

    def __call__(self, image: Path, out: Path) -> None:
        """Draw one image, file to file."""
        self._outputs.clear()
        result = self._infer(self.model, str(image))
        pixels = self._mmcv.imconvert(self._mmcv.imread(str(image)), 'bgr', 'rgb')
        # The visualizer is one for all of its name: another tool may have set other classes.
        self.visualizer.dataset_meta = self.model.dataset_meta
        self.visualizer.add_datasample(
            'result', pixels, data_sample=result, draw_gt=False, show=False, pred_score_thr=self.score_thr
        )
        drawn = self.visualizer.get_image()
        maps = [
            item for output in self._outputs for item in (output if isinstance(output, (tuple, list)) else [output])
        ]
        panels = [self.visualizer.draw_featmap(item[0], drawn, channel_reduction='select_max') for item in maps]
        picture = self._arrange([*panels, pixels])
        self._mmcv.imwrite(picture[..., ::-1], str(out))


if __name__ == '__main__':
    warnings.simplefilter('ignore')
    source, config_file, checkpoint_file, result_file = map(Path, sys.argv[1:5])
    device_name = sys.argv[5] if len(sys.argv) > 5 else 'cpu'
    PeerTool(config_file, checkpoint_file, device_name)(source, result_file)
