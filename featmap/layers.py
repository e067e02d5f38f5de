"""Layer names: parse, resolve, list, suggest. Only modules of the model can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from torch import nn

from featmap.errors import LayerError, nearest
from featmap.layer_types import is_pattern, is_type, none_of_type, of_type
from featmap.wording import on_command_line
from featmap.wording import option as written

_TOKEN = re.compile(r'\[\s*([^\[\]]+?)\s*\]|([^.\[\]\s]+)')
_HOLDERS = (nn.ModuleList, nn.ModuleDict)
_NAME = re.compile(r'[^.\[\]\s]+(?:\[[^\[\]]+\]|\.[^.\[\]\s]+)*')


@dataclass(frozen=True)
class Target:
    """A module to record, and which part of its output.

    Attributes:
        name: The module's dotted path, as in ``named_modules()``.
        module: The module.
        path: Keys into a nested output, outermost first; empty for all of it.
        optional: Found by a pattern or a type, so that it is passed over where it never ran or puts out no map.
    """

    name: str
    module: nn.Module = field(repr=False)
    path: tuple[str, ...] = ()
    optional: bool = False

    @property
    def label(self) -> str:
        """The name with the output keys: ``neck[0]``."""
        return self.name + ''.join(f'[{key}]' for key in self.path)


def parse(name: str) -> list[tuple[str, bool]]:
    """Split a layer name into its parts; the flag says whether a part stood in brackets.

    ``neck.out_layers[2]`` gives ``[('neck', False), ('out_layers', False), ('2', True)]``.
    """
    if not _NAME.fullmatch(name.strip()):
        raise LayerError(
            f'{name!r} is no layer name: expected dotted names and [indices], such as neck, backbone.stage4, '
            'neck.out_layers[2] or backbone.stage*'
        )
    return [
        (bracketed.strip('\'"') or '*', True) if bracketed else (plain, False)
        for bracketed, plain in _TOKEN.findall(name.strip())
    ]


def resolve(model: nn.Module, names: str | nn.Module | Sequence[str | nn.Module]) -> list[Target]:
    """The modules that the names stand for, in the order asked for, each once.

    A module of the model may stand where its name would; an element of an output that is asked for as a whole adds
    nothing.

    A bracket picks a child module where there is one of that name (``neck.out_layers[2]``), else an element of
    the layer's output (``neck[0]``). ``*`` and ``?`` match within one part of the name. ``type:Conv2d`` stands for
    every module of that class, however deep, ``backbone.type:Conv2d`` for those inside backbone, and
    ``type:Bottleneck.conv2`` for a part of each; see :func:`featmap.layer_types.of_type`.

    Raises:
        LayerError: for names that reach nothing, with the nearest names that do, all at once.
    """
    targets: dict[tuple[int, tuple[str, ...]], Target] = {}
    unknown: list[str] = []
    for given in [names] if isinstance(names, (str, nn.Module)) else names:
        name = _name_of(model, given) if isinstance(given, nn.Module) else given
        found = list(_walk(model, parse(name), ''))
        if not found:
            unknown.append(_unknown(model, name))
        pattern = is_pattern(name)
        for target in found:
            target = replace(target, optional=pattern)
            targets.setdefault((id(target.module), target.path), target)
    if unknown:
        hint = f'; {written("preview_model")} lists all' if on_command_line() else ''
        raise LayerError('; '.join(unknown) + hint)
    if not targets:
        raise LayerError('no target layer was given: name one, such as backbone or neck')
    parts = [key for key in targets if any((key[0], key[1][:depth]) in targets for depth in range(len(key[1])))]
    return [target for key, target in targets.items() if key not in parts]


def _name_of(model: nn.Module, module: nn.Module) -> str:
    if module is model:
        raise LayerError(
            f'the given {type(module).__name__} is the model itself: expected one of its modules; '
            'nn.Sequential(model) has it for one'
        )
    for name, each in model.named_modules():
        if each is module:
            return name
    raise LayerError(
        f'the given {type(module).__name__} is no part of the model: expected one of its modules, or a name'
    )


def _walk(module: nn.Module, parts: list[tuple[str, bool]], prefix: str) -> Iterator[Target]:
    if not parts:
        yield Target(prefix, module)
        return
    (part, _), rest = parts[0], parts[1:]
    if is_type(part):
        for name, each in of_type(module, part):
            yield from _walk(each, rest, f'{prefix}.{name}' if prefix else name)
        return
    # Not named_children(): it leaves out the second name of a shared module (heads of RTMDet share convolutions).
    children = {name: child for name, child in module._modules.items() if child is not None}
    matches = [name for name in children if name == part or fnmatchcase(name, part)]
    for name in matches:
        yield from _walk(children[name], rest, f'{prefix}.{name}' if prefix else name)
    if not matches and prefix and all(bracket for _, bracket in parts) and '*' not in part:
        yield Target(prefix, module, tuple(key for key, _ in parts))


def list_names(model: nn.Module) -> list[str]:
    """Every layer name of the model, parents before children."""
    return [name for name, _ in model.named_modules() if name]


def children_to_try(name: str, module: nn.Module, limit: int = 6) -> str:
    """The names of the module's children as text, for a layer that is itself never run."""
    names = [f'{name}.{child}' for child, _ in module.named_children()]
    return ', '.join(names[:limit]) + (', …' if len(names) > limit else '')


def _unknown(model: nn.Module, name: str) -> str:
    parts = [part for part, _ in parse(name)]
    if (reason := _unknown_type(model, parse(name))) is not None:
        return reason
    numbers = ''.join(f'[{part}]' for part in parts[1:])
    if len(parts) > 1 and all(part.isdigit() for part in parts[1:]) and parts[0] in model._modules:
        rest = '.'.join(parts[1:])
        return f'{parts[0]} has no layer {rest!r}; for an element of its output write {parts[0]}{numbers}'
    near = ', '.join(_nearest_names(model, name))
    return f'the model has no layer {name!r}; nearest: {near}'


def _unknown_type(model: nn.Module, parts: list[tuple[str, bool]]) -> str | None:
    """Why a type was not found, where all that stands before it was."""
    for depth, (part, _) in enumerate(parts):
        if is_type(part):
            before = list(_walk(model, parts[:depth], '')) if depth else [Target('the model', model)]
            empty = [each for each in before if not any(of_type(each.module, part))]
            return none_of_type(empty[0].module, empty[0].name, part) if before and len(empty) == len(before) else None
    return None


def _nearest_names(model: nn.Module, name: str) -> Iterable[str]:
    """Three names like the given one, first among the children of its longest part that does exist."""
    parts = [part for part, _ in parse(name)]
    module, known = model, 0
    while known < len(parts) and isinstance(child := module._modules.get(parts[known]), nn.Module):
        module = child
        known += 1
    prefix = '.'.join(parts[:known])
    siblings = [f'{prefix}.{child}' if prefix else child for child, _ in module.named_children()]
    modules = dict(model.named_modules())
    # A list of layers is never run itself.
    runnable = [each for each in list_names(model) if not isinstance(modules[each], _HOLDERS)]
    best = nearest(name, [each for each in siblings if not isinstance(modules.get(each), _HOLDERS)])
    return (best + [other for other in nearest(name, runnable) if other not in best])[:3]
