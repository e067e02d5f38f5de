"""What the user gets for one image where something is explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from featmap.drawer import MapDrawer
from featmap.errors import OptionError
from featmap.explanation import Explanation
from featmap.images import AnyImage
from featmap.layers import Target
from featmap.models.protocol import AnyModel
from featmap.options import Run
from featmap.options.explain import ASKING
from featmap.rendering.normalize import Range
from featmap.results import Result
from featmap.storage import SavedImage
from featmap.targets.asked_for import target_asked_for
from featmap.targets.spec import TargetSpec
from featmap.wording import option as written

if TYPE_CHECKING:
    from featmap.explaining import Explained, Explaining
    from featmap.figure import MapFigure
    from featmap.targets import Trace


@dataclass(frozen=True, repr=False)
class ExplainedResult(Result):
    """All that came of one image: what speaks for one or several of the model's answers.

    Attributes:
        explanations: One for each target and method, in this order; of layers that are left apart one each.
    """

    explanations: tuple[Explanation, ...] = ()

    def __repr__(self) -> str:
        """One line: what the image is called, and what was explained."""
        first, more = self.explanations[0], len(self.explanations) - 1
        told = f' and {more} more' if more else ''
        return f'<ExplainedResult of {self.name!r}: {first.headline} by {first.method}{told}>'

    @property
    def heat(self) -> np.ndarray:
        """How much each pixel speaks for it, of the first explanation: (H, W) float32 from 0 to 1, on the original."""
        return self.explanations[0].heat

    @property
    def trace(self) -> Trace | None:
        """The raw prediction that is explained first; None where it is of none, or of several."""
        return self.explanations[0].trace

    def figure(self, **options: Any) -> MapFigure:
        """The explanations as a matplotlib figure for print, with the curves of what was measured.

        Args:
            **options: Those of :func:`featmap.figure.explanations.draw_explanations`.
        """
        from featmap.figure.explanations import draw_explanations

        chosen = {'name': self.name, **self.figure_options, **options}
        chosen.pop('columns', None)  # a line holds what is said of its target
        return draw_explanations(self.original, self.explanations, self.predictions, **chosen)

    def saved(self, provenance: dict[str, Any], run: Range | None = None) -> SavedImage:
        """As for maps, with what they speak for."""
        return replace(super().saved(provenance, run), explanations=self.explanations)


@dataclass(frozen=True)
class Plan:
    """What a run explains; read before the model is loaded, so that a slip costs nothing.

    Attributes:
        spec: What is explained.
        run: The options.
    """

    spec: TargetSpec
    run: Run

    @classmethod
    def of(cls, run: Run) -> Plan | None:
        """That of a run; None where it draws feature maps.

        Raises:
            OptionError: for a target or a method that is none.
        """
        spec = target_asked_for(run)
        if spec is None:
            return None
        # Not before something is to be explained: who draws maps alone need not wait for all methods.
        from featmap.explaining import explainer_of

        for name in run.explain.method:
            explainer_of(name, _arguments(run))
        return cls(spec, run)

    def on(self, network: AnyModel, before: Why | None = None) -> Why:
        """What explains so on a model; what it has learned of the model ``before`` is shared.

        Raises:
            LayerError: for a layer that is none.
        """
        return Why(self.spec, self.run, network, before)


class Why:
    """Explains images as a run asks for.

    Args:
        spec: What is explained.
        run: The options.
        network: The model.
        before: Explains the same model; None for none.
    """

    def __init__(self, spec: TargetSpec, run: Run, network: AnyModel, before: Why | None = None) -> None:
        from featmap.explaining import Explaining

        self.spec, self.run = spec, run
        asked, what = run.explain, run.what
        self._explaining: Explaining = Explaining(
            network, spec, asked.method, what.target_layers, asked.fuse, seed=asked.seed,
            batch_size=asked.batch_size, arguments=_arguments(run), extra_tokens=what.extra_tokens,
            like=None if before is None else before._explaining,
        )  # fmt: skip

    @property
    def layers(self) -> list[Target]:
        """The layers that were named."""
        return self._explaining.layers

    def result(
        self, image: np.ndarray, name: str, location: str, drawer: MapDrawer, pictures: bool = True
    ) -> ExplainedResult:
        """Explain one image, (H, W, 3) RGB uint8, and draw it; without pictures, only to split it.

        Raises:
            FeatMapError: the one of :mod:`featmap.errors` that says what is wrong.
        """
        from featmap.explained import ExplanationDrawer
        from featmap.explained.rows import focus

        network = self._explaining.network
        network.score_thr = self.run.what.score_thr
        # Who asks about a class says that the model tells classes apart.
        network.classifies = self.spec.name in ('top', 'class')
        explained = self._explaining(image)
        explanations = self._measured(explained)
        asked = self.run.explain
        if asked.zoom and all(focus(each) is None for each in explanations):
            raise OptionError(f'{written("zoom")} goes with a box or a region, and {explanations[0].label} is neither')
        drawing = ExplanationDrawer(drawer, asked.zoom, asked.explain_box)
        found = explained.detections
        renderings = drawing.draw_sheets(image, explanations, found, name) if pictures else ()
        options = {
            'look': drawing.look, 'crop': drawer.crop, 'labels': drawer.labels, 'zoom': asked.zoom,
            'asked': asked.explain_box,
        }  # fmt: skip
        return ExplainedResult(
            name,
            renderings,
            tuple(item for each in explanations for item in each.maps),
            found,
            image,
            location,
            figure_options=options,
            draw_panels=partial(drawing.draw_panels, image, explanations, found),
            explanations=explanations,
        )

    def _measured(self, explained: Explained) -> tuple[Explanation, ...]:
        """The explanations, with how faithful they are where that is asked for."""
        if not self.run.explain.faithfulness:
            return explained.explanations
        from featmap.faithfulness import BASELINES, Protocol, assess

        groups = [[each for each in explained.explanations if each.headline == one.title] for one in explained.chosen]
        boxes = None if explained.detections is None else explained.detections.boxes
        asked = self.run.explain
        protocol = Protocol(asked.areas, baselines=BASELINES, seed=asked.seed)
        heats = [[each.heat for each in group] for group in groups]
        figures = assess(explained.asked, explained.chosen, heats, boxes, protocol)
        return tuple(
            replace(each, faithfulness=found) for group, row in zip(groups, figures) for each, found in zip(group, row)
        )


def _arguments(run: Run) -> dict[str, dict[str, Any]]:
    """Arguments of methods, by name."""
    return {'drise': {'masks': run.explain.masks}}


class Explains:
    """Explains images in a call."""

    def explain(
        self,
        images: AnyImage | Sequence[AnyImage],
        target: Any = None,
        method: str | Sequence[str] | None = None,
        target_layers: Any = None,
        **options: Any,
    ) -> ExplainedResult | list[ExplainedResult]:
        """Say what in an image speaks for a detection, a class or a region.

        Args:
            images: As for a call.
            target: ``box:0``, ``boxes``, ``top`` (the default), ``class:dog``, ``class:16``, ``class:dog-class:cat``,
                or a function from what the model returns to a scalar.
            method: One or several of EXPLAINERS; by default, and so of the layers, what measured best.
            target_layers: On which layers.
            **options: Others for this call alone: ``explain_box``, ``explain_part``, ``fuse``, ``zoom``,
                ``faithfulness``, … and ``bgr``.

        Returns:
            A result whose ``heat`` is (H, W) float32 from 0 to 1 on the original, ``trace`` the raw prediction; several
            images give a list.

        Raises:
            FeatMapError: the one of :mod:`featmap.errors` that says what is wrong.
        """
        if target is None and not any(options.get(name) is not None for name in ASKING):
            target = 'top'
        given = {'method': method, 'target_layers': target_layers}
        given = {name: value for name, value in given.items() if value is not None}
        # What an inferencer was built to explain is not what this call asks for.
        asked = {**dict.fromkeys(ASKING), 'explain_class': None, 'explain': target}
        return self(images, **{**asked, **given, **options})  # type: ignore[operator, no-any-return]
