"""From the options of a run to what it explains."""

from __future__ import annotations

import difflib
import os

from featmap.errors import OptionError
from featmap.options import Run
from featmap.targets.spec import WORDS, TargetSpec, parse_target
from featmap.wording import option as written


def refuse_slips(run: Run) -> None:
    """Refuse, before anything is loaded, what a run cannot explain.

    A word that is like none of featmap's waits, and any other where ``custom_imports`` are given: a module that is
    yet to be imported may register a target of that name.

    Raises:
        OptionError: as for :func:`target_asked_for`.
    """
    word = str(run.explain.explain).partition(':')[0].strip()
    imports = any(str(each).startswith('custom_imports') for each in run.model.cfg_options)
    if word in WORDS or not word.isidentifier() or (not imports and difflib.get_close_matches(word, WORDS, 1)):
        target_asked_for(run)


def target_asked_for(run: Run) -> TargetSpec | None:
    """What a run explains; None where it draws feature maps.

    Raises:
        OptionError: where that cannot be read, or names a file that is not there.
    """
    if not run.explains:
        return None
    asked = run.explain
    mask = asked.explain_mask
    if mask is not None and not os.path.isfile(os.path.expanduser(mask)):
        raise OptionError(f'{written("explain_mask", mask)}: there is no such file')
    return parse_target(asked.explain, asked.explain_part, asked.explain_box, asked.explain_class, asked.at, mask)
