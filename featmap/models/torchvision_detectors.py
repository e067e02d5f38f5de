"""Torchvision's detectors, which resize, normalise and pad images themselves: that is done before them here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from featmap.answers import RawLayer
from featmap.models.differentiable import joined, running_in
from featmap.models.libraries import preprocessing_like
from featmap.models.network import Network, NetworkBatch
from featmap.models.preprocessing import Declared, Preprocessing
from featmap.models.reading import preprocessing_of
from featmap.models.torchvision_heads import raw_layers
from featmap.options import Run

_SIZES = 'image_sizes'
_ALL = 10**9
_NONE_OVERLAPS = 2.0  # no IoU is above it


class Resized:
    """A preprocessing, and after it what a detector does with its images before its backbone.

    So that what lies in the network input, and where, is known to whoever prepares it.

    Args:
        function: From an RGB array to a (C, H, W) tensor of 0 to 1, as the detector wants it.
        transform: The detector's own ``GeneralizedRCNNTransform``.
    """

    def __init__(self, function: Callable[[np.ndarray], Tensor], transform: nn.Module) -> None:
        self._function = function
        self._transform = transform

    def __call__(self, image: np.ndarray) -> dict[str, Tensor]:
        """The network input, (1, C, h, w), with the height and width of what is no padding, (1, 2)."""
        with torch.no_grad():
            images, _ = self._transform([self._function(image)])
        return {'pixel_values': images.tensors, _SIZES: torch.tensor(images.image_sizes)}


class Ready(nn.Module):
    """Stands in a detector for the transform that its input went through already.

    Boxes and masks stay in pixels of the network input.

    Args:
        transform: The detector's own.
    """

    def __init__(self, transform: nn.Module) -> None:
        super().__init__()
        self.own = transform
        self.sizes: list[tuple[int, int]] = []  # of the images in the input, without padding; empty for all of it
        self.score_thr = 0.0

    def forward(self, images: Tensor, targets: Any = None) -> tuple[Any, Any]:
        """Images as the detector's own transform returns them."""
        from torchvision.models.detection.image_list import ImageList

        whole = (int(images.shape[-2]), int(images.shape[-1]))
        return ImageList(images, self.sizes or [whole] * len(images)), targets

    def postprocess(self, result: list[dict[str, Tensor]], image_sizes: Any, whole: Any) -> list[dict[str, Tensor]]:
        """Masks at the size of the input, of those that are good enough: each takes as much memory as an image."""
        kept = [_at(each, each['scores'] >= self.score_thr) for each in result]
        return self.own.postprocess(kept, whole, whole)  # type: ignore[operator]


def _at(found: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    return {name: value[kept] for name, value in found.items()}


class TorchvisionDetector(Network):
    """A detector of torchvision.

    Args:
        module: Its ``transform`` is replaced while it runs, see :class:`Ready`, and its threshold lowered.
        *arguments: As of :class:`Network`. The preprocessing does what the module's own transform did, see
            :class:`Resized`.
        **settings: As of :class:`Network`.
    """

    def __init__(self, module: nn.Module, *arguments: Any, **settings: Any) -> None:
        super().__init__(module, *arguments, **settings)
        self._accepted = frozenset({_SIZES})
        self._ready = Ready(module.transform).eval()  # type: ignore[arg-type]
        # Keypoint and mask detectors have theirs in the heads of regions.
        self._head: Any = module if hasattr(module, 'score_thresh') else module.roi_heads

    def _forward(self, batch: NetworkBatch, raw: float | None = None) -> Any:
        sizes = batch.extras.get(_SIZES)
        self._ready.sizes = [] if sizes is None else [(height, width) for height, width in sizes.tolist()]
        self._ready.score_thr = self.score_thr if raw is None else raw
        # What is asked for is not to be dropped on the way.
        limits = {'score_thresh': min(self._head.score_thresh, self.score_thr)} if raw is None else _unlimited(raw)
        with ExitStack() as stack:
            stack.enter_context(_changed(self.model, {'transform': self._ready}))
            stack.enter_context(_changed(self._head, limits))
            rpn = getattr(self.model, 'rpn', None)
            if isinstance(rpn, nn.Module):
                stack.enter_context(joined(rpn, 'forward', parts=False))
            if raw is not None:
                stack.enter_context(running_in(_Unsuppressed, [self._head], 'postprocess_detections'))
            stack.enter_context(joined(self._head, 'postprocess_detections', parts=False))
            return super()._forward(replace(batch, extras={}))

    def raw_layers(self) -> list[RawLayer]:
        """The layers that put out raw predictions: of two stages those of the second."""
        return raw_layers(self.model, self.classes)


class _Unsuppressed(TorchFunctionMode):
    """Keeps all boxes, best first, and saves the comparison of each with each."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if str(func) == 'torchvision.nms':
            return args[1].argsort(descending=True, stable=True)
        return func(*args, **(kwargs or {}))


def _unlimited(floor: float) -> dict[str, Any]:
    """What makes a head hand out all that it predicts above a score, and nothing that it makes of that."""
    return {
        'score_thresh': floor,
        'nms_thresh': _NONE_OVERLAPS,
        'detections_per_img': _ALL,
        'topk_candidates': _ALL,
        'mask_roi_pool': None,
        'keypoint_roi_pool': None,
    }


@contextmanager
def _changed(owner: Any, attributes: Mapping[str, Any]) -> Iterator[None]:
    """Within, attributes that an object has are others."""
    own = {name: getattr(owner, name) for name in attributes if hasattr(owner, name)}
    try:
        for name in own:
            setattr(owner, name, attributes[name])
        yield
    finally:
        for name, value in own.items():
            setattr(owner, name, value)


def resizes_inside(module: nn.Module) -> bool:
    """Whether a module is a detector as torchvision's are, with a ``GeneralizedRCNNTransform`` of its own."""
    transform = module._modules.get('transform')
    parts = ('resize', 'postprocess', 'image_mean', 'image_std', 'min_size')
    head = module if hasattr(module, 'score_thresh') else getattr(module, 'roi_heads', None)
    return all(hasattr(transform, part) for part in parts) and hasattr(head, 'score_thresh')


def resized_inside(
    run: Run,
    module: nn.Module,
    beside: ModuleType | None = None,
    place: str = '',
    preset: Callable[[Any], Tensor] | None = None,
) -> Preprocessing:
    """What a detector's weights ask for and what it does itself; what a run declares stands in place of both.

    Args:
        run: The run. A function in it stands in place of what the weights ask for.
        module: The detector.
        beside: See :func:`preprocessing_of`, like the next one.
        place: What that is called in messages.
        preset: That of its weights, from a PIL image to a tensor of 0 to 1.

    Raises:
        FeatMapError: where a function is not found, or what is declared makes no sense.
    """
    own: Any = module.transform
    if run.model.preprocess is not None:
        given = preprocessing_of(run, module, beside, place)
        return Preprocessing(Resized(lambda image: given.values(image)[0], own), name=given.name)
    if not any(run.asks(name) for name in ('input_size', 'resize', 'mean', 'std')):
        to_tensor = preset or _to_tensor
        return Preprocessing(Resized(lambda image: to_tensor(Image.fromarray(image)), own), name=type(own).__name__)
    side = own.min_size[-1]
    height, width = getattr(own, 'fixed_size', None) or (side, side)
    return preprocessing_like(
        run, module, (height, width), own.image_mean, own.image_std,
        lambda size, mean, std: Declared(size, 'letterbox', mean, std),
    )  # fmt: skip


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
