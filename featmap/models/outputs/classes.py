"""The class scores of a whole image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from featmap.classification import Classification
from featmap.layouts import flatten

_SURE = 1e-3  # by which probabilities may miss a sum of 1
_LEAST = 1e-12  # of a probability whose log is taken
_MARGIN = 1e-6  # to 0 and 1 of one whose logit is taken, in float32


def read_classification(
    output: Any, classes: tuple[str, ...], is_classifier: bool, kind: str = 'softmax', image: int = 0
) -> Classification | None:
    """The best classes of one image of a batch.

    Args:
        output: What the forward returned.
        classes: The classes' names; empty where they are not known.
        is_classifier: Whether the model is known to be one; else as many scores as names say that it is.
        kind: ``softmax`` or ``sigmoid``, see :func:`classification_of`.
        image: Its number in the batch.

    Returns:
        None where there are no class scores in the output, or some that are not finite.
    """
    scores = class_scores(output, len(classes), is_classifier)
    return None if scores is None else classification_of(scores[image], kind)


def class_scores(output: Any, classes: int, is_classifier: bool) -> Tensor | None:
    """The (N, K) class scores in what a forward returned; None where there are none, or it cannot be told which.

    A tensor, or the entry ``logits``, else the only (N, K) floats in any nesting. Features of an image have the same
    form: they are none unless there are K names, or the model is known to be a classifier.

    Args:
        output: What the forward returned.
        classes: How many class names are known.
        is_classifier: Whether the model is known to be one.
    """
    logits = field(output, 'logits')
    given = [logits] if logits is not None else [leaf.value for leaf in flatten(output)]
    rows = [row for value in given if (row := _rows(value)) is not None]
    named = [row for row in rows if row.shape[1] == classes]
    if len(named) == 1:
        return named[0]
    return rows[0] if is_classifier and len(rows) == 1 else None


def field(output: Any, name: str) -> Tensor | None:
    """A tensor by its name in a dict, or in an object that has it for an attribute; None where there is none."""
    found = output.get(name) if hasattr(output, 'keys') else getattr(output, name, None)
    return found if isinstance(found, Tensor) else None


def _rows(value: Any) -> Tensor | None:
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
        return None
    if value.ndim == 4 and value.shape[2:] == (1, 1):  # of a classifier that is convolutions all the way
        value = value.flatten(1)
    return value if value.ndim == 2 else None


def classification_of(scores: Tensor, kind: str = 'softmax') -> Classification | None:
    """The best classes by (K,) scores, in float32; None where they are not finite.

    What is a distribution already is left as it is. A single score cannot compete with others, and goes through a
    sigmoid whatever the kind.

    Args:
        scores: Logits, or probabilities: none below 0, with a sum of 1 within 0.001, or for ``sigmoid`` none above 1.
        kind: ``softmax`` for one class out of all, ``sigmoid`` for each by itself.
    """
    values = scores.detach().float()
    if not bool(values.isfinite().all()):
        return None
    kind = 'sigmoid' if len(values) == 1 else kind
    if not _are_chances(values, kind, slack_of(scores)):
        chances = values.sigmoid() if kind == 'sigmoid' else values.softmax(dim=0)
    else:
        chances = values if kind == 'sigmoid' else values.clamp(max=1)
    return Classification.of_all(chances.cpu().numpy(), kind)


def logits_of(scores: Tensor, kind: str = 'softmax') -> tuple[Tensor, str]:
    """What (K,) scores are before an activation, in float32 and joined to the graph, and that activation.

    Args:
        scores: As for :func:`classification_of`. Logits are left as they are.
        kind: ``softmax`` or ``sigmoid``, likewise.
    """
    kind = 'sigmoid' if len(scores) == 1 else kind
    values = scores.float()
    if not _are_chances(values.detach(), kind, slack_of(scores)):
        return values, kind
    return undone(values, kind), kind


def undone(chances: Tensor, kind: str) -> Tensor:
    """Logits of which an activation makes the given probabilities."""
    return chances.logit(eps=_MARGIN) if kind == 'sigmoid' else chances.clamp(min=_LEAST).log()


def _are_chances(values: Tensor, kind: str, slack: float) -> bool:
    """Whether scores are probabilities already."""
    if not bool((values >= 0).all()):
        return False
    if kind == 'sigmoid':
        return len(values) > 1 and bool((values <= 1).all())
    return abs(float(values.sum()) - 1) <= slack


def slack_of(scores: Tensor) -> float:
    """By how much probabilities may miss a sum of 1."""
    return max(_SURE, 2 * torch.finfo(scores.dtype).eps)  # the sum of many that are rounded to half precision
