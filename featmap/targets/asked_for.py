"""From the options of a run to what it explains."""

from __future__ import annotations

import os

from featmap.errors import OptionError
from featmap.options import Run
from featmap.targets.spec import TargetSpec, parse_target
from featmap.wording import option as written


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
