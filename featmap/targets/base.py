"""What a target has to be, and what it may look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from featmap.answers import Answers
from featmap.errors import TargetError
from featmap.geometry import ImageGeometry
from featmap.registry import TARGETS
from featmap.targets.chosen import Chosen
from featmap.targets.spec import TargetSpec
from featmap.targets.tracer import Tracer, remedy
from featmap.wording import option as written

BY_WORD = ('box', 'boxes', 'top', 'class', 'missed', 'function')
"""The targets that come with featmap."""
_CALLED = {'boxes': 'detections', 'classes': 'classes of a whole image', 'segments': 'classes of pixels'}


@dataclass(frozen=True)
class Scene:
    """One image's answers, from which a target is chosen.

    Attributes:
        answers: What is chosen from: the final answers; for a spec that is ``of_raw``, the raw predictions.
        geometry: How the image lies in the network input.
        tracer: Of the same forward; None where it is not known what the raw predictions are.
        score_thr: What is found below it is left out of ``detections``.
        own_score_thr: The threshold that the model itself applies; None where it is not known.
        layers: Where the graph begins, if it is at layers that were asked for.
        final: The final answers, where ``answers`` are raw ones; without gradients.
        raw: Raw predictions, where ``answers`` are final ones; without gradients. Asked only for what a message says.
        gradients: Whether the scalar will be differentiated. If not, what blocks gradients is no error.
    """

    answers: Answers
    geometry: ImageGeometry
    tracer: Tracer | None = None
    score_thr: float = 0.3
    final: Answers | None = None
    raw: Callable[[], Answers] | None = field(default=None, repr=False)
    gradients: bool = True
    own_score_thr: float | None = None
    layers: tuple[str, ...] = ()


class Target(ABC):
    """Chooses what is explained; registered in TARGETS under the word before the colon.

    Attributes:
        kinds: Which of :data:`featmap.answers.KINDS` it is about.
    """

    kinds: ClassVar[tuple[str, ...]] = ('boxes',)

    @abstractmethod
    def choose(self, spec: TargetSpec, scene: Scene) -> list[Chosen]:
        """What the spec stands for in this scene, at least one.

        Raises:
            TargetError: where there is no such thing.
        """


def choose(spec: TargetSpec, scene: Scene) -> list[Chosen]:
    """What a spec stands for in a scene: one, or of ``boxes`` one for each.

    Raises:
        TargetError: where there is no such thing, or where it has no gradient and needs one.
    """
    target = TARGETS.get(spec.name)()
    kind = scene.answers.kind
    if kind not in target.kinds:
        told = _CALLED.get(kind)
        expected = ' or '.join(_CALLED[each] for each in target.kinds if each)
        raise TargetError(
            f'{written_spec(spec)} is about {expected}, and this model gives '
            f'{told or "an answer of no known kind: a function of its output explains it"}{_instead(kind)}'
        )
    chosen = target.choose(spec, scene)
    if scene.gradients and not all(each.scalar.requires_grad for each in chosen):
        where = ', '.join(scene.layers)
        raise TargetError(
            f'{chosen[0].name} has no gradient{where and " in "}{where}: '
            f'{where and "it does not depend on that, or "}something in the model blocks it (detach or no_grad inside '
            f'of it, a compiled or quantised layer); {remedy()}'
        )
    return chosen


def written_spec(spec: TargetSpec) -> str:
    """The option as the reader would type it."""
    if spec.function is not None:
        return f'the function {spec}'
    if spec.box is not None:
        return written('explain_box', ','.join(f'{corner:.6g}' for corner in spec.box))
    return written('explain', str(spec))


def _instead(kind: str) -> str:
    if kind == 'boxes':
        return ''
    return f'; {written("explain", "class:NAME")} works' if kind else ''
