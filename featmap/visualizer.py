"""``FeatMapVisualizer``: draws the maps of one image and hands pictures to MMEngine's vis backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dist import master_only
from mmengine.visualization import Visualizer
from torch import Tensor

from featmap.drawer import MapDrawer
from featmap.errors import OptionError, nearest
from featmap.options import DRAWING, Run
from featmap.registry import VISUALIZERS
from featmap.rendering.mmengine_picture import draw_as_mmengine
from featmap.structures import Detections, FeatureMap, Rendering
from featmap.vis_backends import add_image

_MMENGINE = ('save_dir', 'fig_save_cfg', 'fig_show_cfg')  # options of its Visualizer, beside the positional ones


@VISUALIZERS.register_module()
class FeatMapVisualizer(MapDrawer, Visualizer):
    """A :class:`featmap.drawer.MapDrawer` that is a visualizer of MMEngine.

    Args:
        name, image, vis_backends, save_dir, and others: As for MMEngine's ``Visualizer``.
        **kwargs: Also the options of look and scale, see :mod:`featmap.options.groups`: ``alpha``, ``colormap``,
            ``labels``, ``arrangement``, ``norm``, ``symmetric``, ``colorbar`` and so on.

    Raises:
        OptionError: for a value that makes no sense.
    """

    def __init__(
        self,
        name: str = 'featmap',
        image: np.ndarray | None = None,
        vis_backends: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        known = (*DRAWING, *_MMENGINE)
        for option in kwargs:
            if option not in known:
                near = ', '.join(nearest(option, known))
                raise OptionError(f'a visualizer has no option {option!r}; nearest: {near}')
        drawing = Run.of({option: kwargs.pop(option) for option in DRAWING if option in kwargs})
        # MMEngine writes its save_dir into the dicts, which the caller may use again.
        if isinstance(vis_backends, (list, tuple)):
            vis_backends = [dict(each) if isinstance(each, dict) else each for each in vis_backends]
        elif isinstance(vis_backends, dict):
            vis_backends = dict(vis_backends)
        Visualizer.__init__(self, name, image, vis_backends, *args, **kwargs)
        MapDrawer.__init__(self, drawing)

    def add_maps(
        self,
        name: str,
        image: np.ndarray,
        maps: Sequence[FeatureMap],
        detections: Detections | None = None,
        step: int = 0,
    ) -> Rendering:
        """Draw as :meth:`draw_maps` and write the picture to every vis backend under ``name`` and ``step``."""
        rendering = self.draw_maps(image, maps, detections, title=name)
        self.add_image(name, rendering.image, step)
        return rendering

    @master_only
    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Write an (H, W, 3) RGB uint8 picture to every vis backend; its name may hold slashes."""
        for backend in self._vis_backends.values():
            add_image(backend, name, image, step)

    @staticmethod
    def draw_featmap(
        featmap: Tensor,
        overlaid_image: np.ndarray | None = None,
        channel_reduction: str | None = 'squeeze_mean',
        topk: int = 20,
        arrangement: tuple[int, int] = (4, 5),
        resize_shape: tuple[int, int] | None = None,
        alpha: float = 0.5,
    ) -> np.ndarray:
        """MMEngine's ``draw_featmap``: same arguments, same channels, same picture, but reduced before upsampling.

        The map is stretched over the whole picture, which is right only where the input was not padded;
        :meth:`draw_maps` knows the padding.

        Args:
            featmap: (C, H, W) features.
            overlaid_image: (H, W, 3) RGB or (H, W) grey uint8 to blend with.
            channel_reduction: A reducer's name, or None to draw channels.
            topk: With ``channel_reduction`` None, how many channels; 0 or less draws a 1- or 3-channel map.
            arrangement: Rows and columns of the grid of channels.
            resize_shape: Height and width of each drawn map.
            alpha: Opacity of the heat.

        Returns:
            (H, W, 3) RGB uint8.

        Raises:
            DrawError: an AssertionError, where MMEngine asserts.
        """
        return draw_as_mmengine(featmap, overlaid_image, channel_reduction, topk, arrangement, resize_shape, alpha)
