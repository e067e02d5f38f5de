"""Attention weights as maps: what a token, the class token or an object query attends to."""

from featmap.attention.asking import handed_out, hint
from featmap.attention.boxes import BoxWatch
from featmap.attention.reading import ATTENTION, Attended, Matrix, check_answers, matrices_in
from featmap.attention.rows import Rows

__all__ = ['ATTENTION', 'Attended', 'BoxWatch', 'Matrix', 'Rows', 'check_answers', 'handed_out', 'hint', 'matrices_in']
