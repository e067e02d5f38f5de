"""``key=value`` as OpenMMLab's command lines have it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import DictAction

from featmap.errors import OptionError, first_line
from featmap.wording import option as written

_SUCH_AS = 'model.test_cfg.score_thr=0.1'


def parse_overrides(items: Iterable[str], option: str = 'cfg_options', such_as: str = _SUCH_AS) -> dict[str, Any]:
    """Values by dotted key from MMEngine's ``key=value`` form.

    Values are read as on any OpenMMLab command line: ``a.b=0.1``, ``a.b=1,2``, ``a.b=[(1,2),(3,4)]``.

    Args:
        items: The texts.
        option: The option that they were given to, for messages.
        such_as: What one may look like, for messages.

    Raises:
        OptionError: an item has no ``=``, an empty key or unbalanced brackets.
    """
    action = DictAction(option_strings=['--cfg-options'], dest='options')
    parsed, said = Namespace(), written(option)
    for item in items:
        key, equals, value = item.partition('=')
        if not equals or not all(key.split('.')):
            raise OptionError(f"{said}: '{item}' is no key=value; write e.g. {such_as}")
        if value.count('[') != value.count(']') or value.count('(') != value.count(')'):
            raise OptionError(f"{said}: the brackets in '{item}' are not balanced")
        try:
            action(ArgumentParser(), parsed, [item])
        except (AssertionError, ValueError, RecursionError) as error:
            raise OptionError(f"{said}: cannot read '{item}': {first_line(error)}") from error
    return getattr(parsed, 'options', {})


def as_dict(
    given: Mapping[str, Any] | Iterable[str], option: str = 'cfg_options', such_as: str = _SUCH_AS
) -> dict[str, Any]:
    """Overrides as a dict, which they may be already; see :func:`parse_overrides`."""
    return dict(given) if isinstance(given, Mapping) else parse_overrides(given, option, such_as)
