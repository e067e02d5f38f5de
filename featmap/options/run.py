"""``Run``: all that was chosen for a run, checked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from featmap.errors import OptionError, nearest
from featmap.options.declare import Option, options_in
from featmap.options.explain import ASKING, WITHOUT, Explain
from featmap.options.groups import Inputs, Look, Output, Scale, What
from featmap.options.model import Model
from featmap.wording import on_command_line
from featmap.wording import option as written

GROUPS: Mapping[str, type] = {
    'inputs': Inputs, 'what': What, 'explain': Explain, 'look': Look, 'scale': Scale, 'output': Output, 'model': Model,
}  # fmt: skip
OPTIONS: Mapping[str, Option] = {
    name: item for group, holder in GROUPS.items() for name, item in options_in(group, holder).items()
}
"""Every option by name, in the order of their declaration."""
DRAWING = tuple(name for name, item in OPTIONS.items() if item.group in ('look', 'scale'))
"""The options that say how maps are drawn: those of a visualizer."""

_FACTORY = re.compile(r'(?<=\.py):\w+$')  # a function in a file

# What looks at the layer tree alone has a use for.
_PREVIEW = {'target_layers', 'extra_tokens', 'preview_model', 'preview_depth'}
_PREVIEW |= {name for name, item in OPTIONS.items() if item.group in ('inputs', 'model')}


@dataclass(frozen=True)
class Run:
    """The options of a run, in groups.

    Attributes:
        inputs: What is looked at.
        what: What is drawn.
        explain: What is explained in its place, if anything.
        look: How it looks.
        scale: What the colours stand for.
        output: Where it goes.
        model: How the model is loaded and run.
        given: The names of the options that were asked for, rather than left to a config or to their defaults.
    """

    inputs: Inputs = field(default_factory=Inputs)
    what: What = field(default_factory=What)
    explain: Explain = field(default_factory=Explain)
    look: Look = field(default_factory=Look)
    scale: Scale = field(default_factory=Scale)
    output: Output = field(default_factory=Output)
    model: Model = field(default_factory=Model)
    given: frozenset[str] = frozenset()

    @classmethod
    def of(cls, values: Mapping[str, Any], place: str = 'python') -> Run:
        """A run of these options; all others have their defaults.

        Args:
            values: Options by name.
            place: Where they stand: ``command``, ``config`` or ``python``.

        Raises:
            OptionError: for a name that is no option there, and for a value that cannot be one.
        """
        typed = _typed(values, place)
        return cls().replace(typed, given=frozenset(typed))

    def above(self, config: Mapping[str, Any]) -> Run:
        """This run over a config's ``featmap`` dict: what was not asked for is taken from there.

        Raises:
            OptionError: as for :meth:`of`.
        """
        below = {name: value for name, value in _typed(config, 'config').items() if name not in self.given}
        return self.replace(below)

    def over(self, other: Run) -> Run:
        """The other run with what was asked for here in place of its own."""
        return other.replace({name: self[name] for name in self.given}, given=self.given | other.given)

    def replace(self, values: Mapping[str, Any], given: frozenset[str] | None = None) -> Run:
        """A run with other values of these options, which are of their types already."""
        groups = {
            group: replace(getattr(self, group), **mine)
            for group in GROUPS
            if (mine := {name: value for name, value in values.items() if OPTIONS[name].group == group})
        }
        return replace(self, **groups, given=self.given if given is None else given)

    def __getitem__(self, name: str) -> Any:
        """The value of an option."""
        return getattr(getattr(self, OPTIONS[name].group), name)

    @property
    def explains(self) -> bool:
        """Whether something is explained, rather than feature maps drawn."""
        return self.explain.asked

    def asks(self, name: str) -> bool:
        """Whether an option says anything: 0 does, but not None, False or no value at all."""
        value = self[name]
        return value is not None and value is not False and value != ()

    def values(self, *groups: str) -> dict[str, Any]:
        """The values of all options of these groups by name; of every group where none is named."""
        return {name: self[name] for name, item in OPTIONS.items() if not groups or item.group in groups}

    def files_read(self) -> dict[str, str]:
        """The files that the run reads besides its images: paths, and what each is called in a message."""
        return {
            os.path.expanduser(_FACTORY.sub('', path)): (
                f'the {name}' if item.positional else f'the file of {written(name)}'
            )
            for name, item in OPTIONS.items()
            if item.kind.reads_file and self[name]
            for path in (self[name] if item.kind.many else (self[name],))
            if isinstance(path, str)
        }

    def check(self, config: bool = True) -> Run:
        """This run, where all that was asked for has an effect.

        Args:
            config: Whether what a config says is in it already; without that, what depends on it is not checked.

        Raises:
            OptionError: for the first option that would have none, with the reason.
        """
        if self.output.preview_model:
            for name in OPTIONS:
                if name in self.given - _PREVIEW:
                    said = written(name, False) if self[name] is False else written(name)
                    raise OptionError(f'{said} has no effect with {written("preview_model")}, which draws nothing')
        if self.explains:
            self._check_explained()
        for name, item in OPTIONS.items():
            if name in self.given and self.asks(name):
                for rule in item.rules:
                    open_yet = not config and rule.reads not in self.given and 'config' in OPTIONS[rule.reads].places
                    if not open_yet and (reason := rule.why(self)):
                        raise OptionError(f'{written(name)} {reason}')
        if self.look.arrangement and self.what.channel_reduction is None:
            rows, columns = self.look.arrangement
            if rows * columns < self.what.topk:
                raise OptionError(
                    f'an arrangement of {rows} x {columns} has {rows * columns} places for '
                    f'{written("topk", self.what.topk)}: give more rows or columns, or fewer channels'
                )
        return self

    def _check_explained(self) -> None:
        """Refuse what is about feature maps, where they are not what is drawn."""
        asking = written(next(name for name in ASKING if self.asks(name)))
        for name in WITHOUT:
            value = self[name]
            idle = value == OPTIONS[name].default and (not value or value is True)
            if name in self.given and not idle:
                said = written(name, value) if value is False else written(name)
                raise OptionError(f'{said} is for feature maps, and has no effect with {asking}')


def _typed(values: Mapping[str, Any], place: str) -> dict[str, Any]:
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise OptionError(f'expected a dict of options by name, got {type(values).__name__}: {str(values)[:60]}')
    known = [name for name, item in OPTIONS.items() if place in item.places]
    typed: dict[str, Any] = {}
    if values.get('channels') is not None and 'channel_reduction' not in values:
        typed['channel_reduction'] = 'channels'
    elif values.get('query') is not None and 'channel_reduction' not in values:
        typed['channel_reduction'] = 'similarity'
    for name, value in values.items():
        if name not in known:
            raise OptionError(_unknown(name, known, place))
        typed[name] = OPTIONS[name].read(value)
    return typed


def _unknown(name: str, known: list[str], place: str) -> str:
    if name in OPTIONS:
        where = ', '.join(sorted(OPTIONS[name].places))
        return f'{name!r} cannot be set here ({place}); its place is: {where}'
    there = "a config's featmap dict" if place == 'config' and on_command_line() else 'featmap'
    return f'{there} knows no option {name!r}; nearest: {", ".join(nearest(name, known))}; all: {", ".join(known)}'
