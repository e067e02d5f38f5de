"""Any scalar: a function of what the forward returned."""

from __future__ import annotations

import torch
from torch import Tensor

from featmap.answers import Answers
from featmap.errors import TargetError, first_line
from featmap.registry import TARGETS
from featmap.targets.base import Scene, Target
from featmap.targets.chosen import Chosen
from featmap.targets.spec import TargetSpec


@TARGETS.register_module(name='function')
class Function(Target):
    """A Python function from the model's output to a tensor of one number; it is also its own measure."""

    kinds = ('boxes', 'classes', 'segments', '')

    def choose(self, spec: TargetSpec, scene: Scene) -> list[Chosen]:
        """What the function gives."""

        def measured(answers: Answers) -> Tensor:
            return _called(spec, answers)

        scalar = measured(scene.answers)
        if scene.gradients and not scalar.requires_grad:
            raise TargetError(
                f'the function {spec} gives a tensor without a gradient: expected one that is computed from the '
                "model's output, without detach, item or no_grad"
            )
        value = float(scalar.detach())
        return [Chosen(scalar, str(spec), f'{value:.4g}', value, measured, again=measured)]


def _called(spec: TargetSpec, answers: Answers) -> Tensor:
    assert spec.function is not None
    try:
        value = spec.function(answers.output)
    except Exception as error:  # whatever a caller's function does with an output that is other than it thought
        raise TargetError(
            f'the function {spec} cannot take the output, a {type(answers.output).__name__}: '
            f'{type(error).__name__}: {first_line(error)}'
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
        given = f'{value.dtype} {tuple(value.shape)}' if isinstance(value, torch.Tensor) else type(value).__name__
        raise TargetError(f'the function {spec} gives {given}, expected a float tensor of one number')
    return value.reshape(())
