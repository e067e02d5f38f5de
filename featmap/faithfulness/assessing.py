"""Measures explanations of an image with the model that they explain."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from featmap.faithfulness.controls import box_map, gaussian_map, random_map
from featmap.faithfulness.curves import Curves, Ranked, measured_curves
from featmap.faithfulness.input_masks import InputMasks
from featmap.faithfulness.localisation import box_mask, energy, energy_of_others, pointing
from featmap.faithfulness.protocol import Protocol
from featmap.faithfulness.result import Faithfulness, Figures
from featmap.perturbing import Blend

if TYPE_CHECKING:
    from featmap.asked import Asked


class Measurable(typing.Protocol):
    """What is asked of a target, see :class:`featmap.targets.Chosen`."""

    @property
    def box(self) -> np.ndarray | None:
        """x1 y1 x2 y2 in pixels of the original; None where it has none."""

    @property
    def boxes(self) -> np.ndarray | None:
        """(N, 4): the same, of all detections of a class."""

    @property
    def region(self) -> np.ndarray | None:
        """(H, W) bool, on the original; None where it has none."""

    @property
    def class_index(self) -> int | None:
        """The number of its class; None where it has none."""

    def measure(self, answers: Sequence[Any]) -> Tensor:
        """Its value in each of B answers: (B,)."""


def assess(
    asked: Asked,
    chosen: Sequence[Measurable],
    heats: Sequence[Sequence[np.ndarray]],
    boxes: np.ndarray | None = None,
    protocol: Protocol | None = None,
    with_controls: bool = True,
) -> list[list[Faithfulness]]:
    """How faithful the maps of some targets of an image are; all steps of all maps share the forwards.

    Args:
        asked: The image and the model.
        chosen: The targets.
        heats: For each target its maps, (H, W) on the original image. An array that stands at several targets, as of a
            class-agnostic method, is perturbed once.
        boxes: (N, 4), all objects of the image in pixels of the original, among which the target's own may be.
        protocol: How to measure.
        with_controls: Whether noise, the box itself and a Gaussian in it are measured beside.

    Returns:
        For each target that of each of its maps.
    """
    protocol = protocol or Protocol()
    shape = asked.geometry.image_shape
    input_masks = InputMasks(asked.geometry)
    seen = input_masks.seen
    noise = np.where(seen, random_map(shape, protocol.seed), np.float32(0))
    insides = [inside(one, shape) for one in chosen]
    controls = [_controls(one, within, seen, noise) if with_controls else {} for one, within in zip(chosen, insides)]
    maps = _shared(heats)
    curves = _curves(
        asked, input_masks, chosen, [[*each, *own.values()] for each, own in zip(maps, controls)], protocol
    )

    found = []
    for number, (one, within) in enumerate(zip(chosen, insides)):
        others = [box_mask(box, shape) for box in foreign(one, boxes)]

        def figures(heat: np.ndarray, number: int = number, within: Any = within, others: Any = others) -> Figures:
            return localised(heat, within, others, tuple(curves[number, id(heat)]))

        beside = {name: figures(heat) for name, heat in controls[number].items()}
        named = replace(protocol, value=_value(one))
        found.append([Faithfulness(named, figures(heat), beside) for heat in maps[number]])
    return found


def localised(
    heat: np.ndarray,
    within: np.ndarray | None,
    others: Sequence[np.ndarray] = (),
    curves: tuple[Curves, ...] = (),
) -> Figures:
    """The figures of a map (H, W) for a target in ``within`` (H, W) bool, beside curves that were measured."""
    if within is None:
        return Figures(curves)
    return Figures(curves, energy(heat, within), energy_of_others(heat, within, others), pointing(heat, within))


def inside(chosen: Measurable, shape: tuple[int, int]) -> np.ndarray | None:
    """(H, W) bool: the target's region, else its box or boxes; None where it has neither."""
    if chosen.region is not None:
        return np.asarray(chosen.region, bool)
    boxes = _boxes_of(chosen)
    return np.any([box_mask(box, shape) for box in boxes], axis=0) if len(boxes) else None


def _value(chosen: Measurable) -> str:
    """What is measured of a target, as :class:`Protocol` calls it."""
    if chosen.region is not None:
        return 'mean probability'
    if len(_boxes_of(chosen)):
        return 'IoU × score'
    return 'value of the function' if chosen.class_index is None else 'probability'


def _boxes_of(chosen: Measurable) -> np.ndarray:
    if chosen.boxes is not None:
        return np.asarray(chosen.boxes).reshape(-1, 4)
    return np.zeros((0, 4)) if chosen.box is None else np.asarray(chosen.box).reshape(1, 4)


def _controls(
    chosen: Measurable, within: np.ndarray | None, seen: np.ndarray, noise: np.ndarray
) -> Mapping[str, np.ndarray]:
    found = {'random': noise}
    boxes = _boxes_of(chosen)
    if chosen.region is not None:
        found['region'] = (within & seen).astype(np.float32)  # type: ignore[operator]
    elif len(boxes):
        found['box'] = np.max([box_map(box, seen.shape) for box in boxes], axis=0) * seen
        found['gaussian'] = np.max([gaussian_map(box, seen.shape) for box in boxes], axis=0) * seen
    return found


def foreign(chosen: Measurable, boxes: np.ndarray | None) -> list[np.ndarray]:
    """The boxes but the target's own."""
    own = _boxes_of(chosen)
    if boxes is None or not len(own):
        return []
    return [box for box in boxes if np.abs(own - box).max(axis=1).min() > 0.5]


def _shared(heats: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
    """The same, of finite numbers; what was one array stays one."""
    plain: dict[int, np.ndarray] = {}
    return [[plain.setdefault(id(heat), np.nan_to_num(heat)) for heat in each] for each in heats]


def _curves(
    asked: Asked,
    input_masks: InputMasks,
    chosen: Sequence[Measurable],
    maps: Sequence[Sequence[np.ndarray]],
    protocol: Protocol,
) -> dict[tuple[int, int], list[Curves]]:
    """The curves of each baseline by the number of the target and the map's identity."""
    targets: dict[int, tuple[np.ndarray, list[int]]] = {}
    for number, each in enumerate(maps):
        for heat in each:
            numbers = targets.setdefault(id(heat), (heat, []))[1]
            if number not in numbers:
                numbers.append(number)
    ranked = [Ranked(heat, tuple(numbers)) for heat, numbers in targets.values()]

    def value(answers: Sequence[Any], number: int) -> np.ndarray:
        return chosen[number].measure(answers).detach().float().cpu().numpy()

    found: dict[tuple[int, int], list[Curves]] = {}
    seen = input_masks.seen
    for baseline in protocol.baselines:
        blend = Blend.of(asked, baseline)

        def answer(masks: np.ndarray, _: str, blend: Blend = blend) -> Sequence[Any]:
            return asked.answer(blend(input_masks(masks, asked.inputs.device)))

        measured = measured_curves(ranked, answer, value, baseline, protocol, seen, asked.batch_size)
        for item, curves in zip(ranked, measured):
            for number, curve in curves.items():
                found.setdefault((number, id(item.heat)), []).append(curve)
    return found
