"""Which image tokens were relevant for a number that a forward computed: gradients with respect to its attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featmap.attention.keys import Keys
from featmap.attention.rollout import ACROSS, IMAGE, QUERIES, relevance, weighted
from featmap.attention.tape import AttentionTape, Sampling, Step
from featmap.errors import LayerError


@dataclass(frozen=True, eq=False)
class Relevant:
    """Relevance of tokens.

    Attributes:
        values: (n,) of all of them, those that are no cells too.
        rows: (m,) how much of each row of the last sequence was asked for: those that the number depends on.
        keys: Where the tokens stand in the image.
        layers: The layers whose attention took part, in their order.
    """

    values: Tensor
    rows: Tensor
    keys: Keys
    layers: tuple[str, ...]


def relevant_for(scalar: Tensor, tape: AttentionTape) -> Relevant:
    """Relevance for a number that was computed while the tape ran, by :func:`featmap.attention.rollout.relevance`.

    The rows that are asked for are those of the last attention that the number depends on: of a class by the class
    token that one, of a detection its object query, of a mean over tokens all of them alike.

    Raises:
        LayerError: where attention took part that has no matrix over one sequence of tokens, by name.
    """
    for item in tape.taken:
        if isinstance(item, Sampling):
            raise LayerError(
                f'{item.layer} is deformable attention, which has no matrix of weights for generic_attention: the '
                'method attention draws where it samples'
            )
    used = gradients_of(scalar, tape)
    kinds = _kinds([step for step, _ in used])
    rows = asked_rows(*used[-1])
    matrices = [weighted(step.heads_of(step.joined.detach()), step.heads_of(gradient)) for step, gradient in used]
    values = relevance(list(zip(kinds, matrices)), rows)
    return Relevant(values, rows, _placed([s for s, _ in used], kinds), tuple(step.layer for step, _ in used))


def gradients_of(scalar: Tensor, tape: AttentionTape) -> list[tuple[Step, Tensor]]:
    """The matrices that a number depends on, and its gradients with respect to them, in the order of the forward.

    Raises:
        LayerError: where there are none.
    """
    steps = [step for step in tape.steps if step.joined.requires_grad]
    gradients = torch.autograd.grad(scalar, [step.joined for step in steps], retain_graph=True, allow_unused=True)
    used = [(step, gradient) for step, gradient in zip(steps, gradients) if gradient is not None]
    if not used:
        raise LayerError(
            'no attention matrix of softmax(q kᵀ) v takes part in what is explained: expected a transformer such as '
            'ViT or DETR'
        )
    return used


def asked_rows(step: Step, gradient: Tensor) -> Tensor:
    """(rows,) that add up to 1: those of a last attention that the number depends on, all alike.

    Raises:
        LayerError: where it depends on none of them.
    """
    rows = (step.heads_of(gradient).abs().amax(dim=(0, 2)) > 0).float()
    if not rows.any():
        raise LayerError(f'what is explained does not change with the attention of {step.layer}: its gradient is 0')
    return rows / rows.sum()


def _kinds(steps: Sequence[Step]) -> list[str]:
    """Whose attention each step is, where all are of one sequence of image tokens, and perhaps one of queries."""
    kinds: list[str] = []
    tokens = queries = None
    for step in steps:
        rows, keys = step.shape
        if step.windows > 1:
            raise LayerError(
                f'{step.layer} attends within {step.windows} windows, each by itself, for which generic_attention is '
                'not defined: methods by the gradient of a layer, such as layercam, are'
            )
        if step.across:
            kind, expected, found = ACROSS, (queries or rows, tokens or keys), (rows, keys)
            queries, tokens = expected
        elif queries is not None or 'decoder' in step.layer.split('.'):
            kind, expected, found = QUERIES, (queries or rows,) * 2, (rows, keys)
            queries = expected[0]
        else:
            kind, expected, found = IMAGE, (tokens or rows,) * 2, (rows, keys)
            tokens = expected[0]
        if found != expected:
            raise LayerError(
                f'{step.layer} attends from {rows} tokens to {keys} where {expected[0]} and {expected[1]} were '
                'expected: generic_attention is defined for one sequence of image tokens, and one of object queries'
            )
        kinds.append(kind)
    return kinds


def _placed(steps: Sequence[Step], kinds: Sequence[str]) -> Keys:
    """Where the image's tokens stand, by the attention that knows best."""
    found = [step.keys for step, kind in zip(steps, kinds) if kind != QUERIES]
    placed = [keys for keys in found if keys.maps]
    if not placed:
        reason = found[0].reason if found else 'object queries attend to nothing but themselves'
        raise LayerError(f'the place of the tokens of {steps[0].layer} is not known: {reason}')
    return next((keys for keys in placed if all(each.cells.known for each in keys.maps)), placed[0])
