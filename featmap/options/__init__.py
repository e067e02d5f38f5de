"""What can be chosen for a run: one table of options, and a run of them."""

from featmap.options.run import DRAWING, GROUPS, OPTIONS, Run

__all__ = ['DRAWING', 'GROUPS', 'OPTIONS', 'Run']
