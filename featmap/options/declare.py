"""What the declaration of an option says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from featmap.errors import OptionError
from featmap.options.kinds import Kind
from featmap.wording import option as written

if TYPE_CHECKING:
    from featmap.options.run import Run

EVERYWHERE = frozenset({'command', 'config', 'python'})
COMMAND = frozenset({'command'})
CALLER = frozenset({'command', 'python'})
CODE = frozenset({'config', 'python'})


@dataclass(frozen=True)
class Rule:
    """When an option would have no effect.

    Attributes:
        reads: The option that this depends on.
        why: Says it of a run, as in ``goes with --figure``; None where the option has an effect.
    """

    reads: str
    why: Callable[[Run], str | None]


@dataclass(frozen=True)
class Option:
    """One option: all that is known of it.

    Attributes:
        name: Its name in Python and in a config.
        group: The group that holds it, such as ``look``.
        default: Its value where it is not given.
        kind: How values are read.
        help: What it does, one line; names and values stand in backquotes.
        usual: What is said of its default; empty where the help says it.
        places: Where it may stand: ``command``, ``config`` (the ``featmap`` dict of a config), ``python``.
        rules: When it would have no effect.
        positional: Whether it has no flag: image, config, checkpoint.
    """

    name: str
    group: str
    default: Any
    kind: Kind
    help: str
    usual: str
    places: frozenset[str]
    rules: tuple[Rule, ...]
    positional: bool

    @property
    def flag(self) -> str:
        """As on the command line: ``--topk``, ``--no-boxes``; the metavar of a positional one."""
        if self.positional:
            return self.kind.metavar
        return ('--no-' if self.default is True else '--') + self.name.replace('_', '-')

    def read(self, value: Any) -> Any:
        """A value in the option's type.

        Raises:
            OptionError: where it cannot be one.
        """
        if value is None and self.default is None:
            return None
        try:
            return self.kind.read(value)
        except OptionError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise OptionError(f'{written(self.name, value)}: {error}') from error


def option(
    default: Any,
    kind: Kind,
    help: str,
    usual: str = '',
    places: frozenset[str] = EVERYWHERE,
    rules: tuple[Rule, ...] = (),
    positional: bool = False,
) -> Any:
    """Declare an option: a field of a group; see :class:`Option`."""
    said = {
        'kind': kind, 'help': help, 'usual': usual, 'places': places, 'rules': rules, 'positional': positional,
    }  # fmt: skip
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=said)
    return field(default=default, metadata=said)


def options_in(group: str, holder: type) -> Mapping[str, Option]:
    """The options that a group's dataclass declares, by name."""

    def default(item: Field[Any]) -> Any:
        return item.default if item.default_factory is MISSING else item.default_factory()

    return {
        item.name: Option(name=item.name, group=group, default=default(item), **item.metadata)
        for item in fields(holder)
    }
