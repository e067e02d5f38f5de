"""Measures maps of the targets of one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from explanation_tables.maps import MapSpec, by_target
from explanation_tables.pictures import Picture
from explanation_tables.records import Record, Records
from featmap.explaining import Explained, Explaining, explainer_of
from featmap.faithfulness import CONTROLS, Figures, Protocol, assess, inside, localised
from featmap.faithfulness.assessing import foreign
from featmap.faithfulness.controls import box_map, gaussian_map, random_map
from featmap.faithfulness.localisation import box_mask
from featmap.models.protocol import AnyModel
from featmap.targets import Chosen, TargetSpec


@dataclass(frozen=True)
class Measurer:
    """Measures the maps that a picture has no records of yet.

    Attributes:
        network: The model.
        asked_network: The one that is asked about perturbed images: the same, or its like in half precision.
        spec: What is explained.
        maps: The maps; those of :data:`featmap.faithfulness.CONTROLS` have the control's name for a method.
        protocol: How insertion and deletion are measured.
        curves: Of how many targets of a picture, drawn by lot, insertion and deletion are measured; None for all.
        batch_size: How many perturbed images at a time.
        seed: Of what is drawn by lot.
        arguments: Of methods, by name.
    """

    network: AnyModel
    asked_network: AnyModel
    spec: TargetSpec
    maps: Sequence[MapSpec]
    protocol: Protocol
    curves: int | None = None
    batch_size: int | None = None
    seed: int = 0
    arguments: Mapping[str, Mapping[str, Any]] | None = None

    def __call__(self, picture: Picture, records: Records) -> list[Record]:
        """The records of a picture's maps that are not there yet; none where nothing is found in it."""
        missing = [item for item in self.maps if records.missing(picture.name, item.name, self.curves)]
        if not missing:
            return []
        image, box = picture.open()
        if self.spec.name == 'boxes':
            found = self.network.predict(self.network.prepare([image]))
            if found is not None and not len(found[0]):
                print(f'{picture.name}: nothing is found above {self.network.score_thr:g}', flush=True)
                return []
        explained, heats = self._heats(image, box, missing)
        if not heats:
            print(f'{picture.name}: no region is large enough', flush=True)
            return []
        chosen = explained.chosen
        picked = self._picked(picture.name, len(chosen))
        boxes = None if explained.detections is None else explained.detections.boxes
        asked = replace(explained.asked, network=self.asked_network)
        measured = (
            assess(
                asked,
                [chosen[number] for number in picked],
                [heats[number] for number in picked],
                boxes,
                self.protocol,
                with_controls=False,
            )
            if picked
            else []
        )
        new = []
        for number, one in enumerate(chosen):
            within = inside(one, image.shape[:2])
            others = [box_mask(each, image.shape[:2]) for each in foreign(one, boxes)]
            known = [each.figures for each in measured[picked.index(number)]] if number in picked else None
            for index, item in enumerate(missing):
                figures = known[index] if known else localised(heats[number][index], within, others)
                share = None if within is None else float(within.mean())
                new.append(_record(picture.name, number, len(chosen), one.label, item.name, share, figures))
        return new

    def _heats(
        self, image: np.ndarray, box: np.ndarray | None, wanted: Sequence[MapSpec]
    ) -> tuple[Explained, list[list[np.ndarray]]]:
        """The targets, and for each of them the heat of each map."""
        own = [item for item in wanted if item.method not in CONTROLS]
        layers_of: dict[str, tuple[str, ...]] = {}
        for item in own:
            layers_of[item.method] = tuple(dict.fromkeys((*layers_of.get(item.method, ()), *item.layers)))
        # Methods that ask the same layers share a forward.
        groups: dict[tuple[str, ...], list[str]] = {}
        for method, layers in (layers_of or {'squeeze_mean': ()}).items():
            groups.setdefault(layers, []).append(method)
        alone = groups.pop((), [])  # what asks the network input does so beside any layers
        groups[next(iter(groups), ())] = [*groups.get(next(iter(groups), ()), ()), *alone]
        heats: list[dict[tuple[str, str], np.ndarray]] = []
        agnostic: list[str] = []
        for layers, methods in groups.items():
            explainers = [explainer_of(method, self.arguments) for method in methods]
            agnostic += [each.name for each in explainers if each.class_agnostic]
            explaining = Explaining(
                self.network,
                self.spec,
                explainers,
                layers,
                'none',
                seed=self.seed,
                batch_size=self.batch_size,
            )
            explained = explaining(image)
            new = by_target(explained.explanations, agnostic)
            heats = [{**known, **more} for known, more in zip(heats or [{} for _ in new], new)]
        chosen = [_placed(one, box) for one in explained.chosen]
        if not chosen:
            return explained, []
        noise = random_map(image.shape[:2], self.protocol.seed)
        shared = {item.name: item.heat(heats[0]) for item in own if item.method in agnostic}
        rows = []
        for one, of_target in zip(chosen, heats):
            row = []
            for item in wanted:
                if item.method in CONTROLS:
                    row.append(_control(item.method, one, noise))
                else:  # of a class-agnostic method one array for all
                    row.append(shared[item.name] if item.name in shared else item.heat(of_target))
            rows.append(row)
        return replace(explained, chosen=tuple(chosen)), rows

    def _picked(self, name: str, count: int) -> list[int]:
        """Which targets have curves: drawn by lot, the same each time."""
        if self.curves is None or self.curves >= count:
            return list(range(count))
        lot = np.random.default_rng([self.seed, *name.encode()]).permutation(count)
        return sorted(lot[: self.curves].tolist())


def _placed(chosen: Chosen, box: np.ndarray | None) -> Chosen:
    """A class of the whole image has the place of its only object, where that is known."""
    return chosen if box is None or chosen.box is not None else replace(chosen, box=np.asarray(box))


def _control(name: str, chosen: Chosen, noise: np.ndarray) -> np.ndarray:
    if name == 'random':
        return noise
    if chosen.region is not None or chosen.box is None:
        within = inside(chosen, noise.shape)
        return np.zeros_like(noise) if within is None else within.astype(np.float32)
    return (box_map if name == 'box' else gaussian_map)(chosen.box, noise.shape)


def _record(
    image: str, target: int, targets: int, label: str, name: str, share: float | None, figures: Figures
) -> Record:
    def number(value: float) -> float | None:
        return round(value, 5) if math.isfinite(value) else None

    first = figures.curves[0] if figures.curves else None
    others = {
        each.baseline: [round(each.insertion_area, 5), round(each.deletion_area, 5)] for each in figures.curves[1:]
    }
    return Record(
        image,
        target,
        targets,
        label,
        name,
        None if share is None else round(share, 6),
        number(first.whole) if first else None,
        number(figures.energy),
        number(figures.others),
        number(figures.pointing),
        number(first.insertion_area) if first else None,
        number(first.deletion_area) if first else None,
        others or None,
    )
