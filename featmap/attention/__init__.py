"""Attention weights as maps: what a token, the class token or an object query attends to."""

from featmap.attention.asking import handed_out, hint
from featmap.attention.boxes import BoxWatch
from featmap.attention.keys import KeyMap, Keys, keys_by
from featmap.attention.reading import ATTENTION, Attended, Matrix, check_answers, matrices_in
from featmap.attention.relevant import Relevant, asked_rows, gradients_of, relevant_for
from featmap.attention.rows import Rows
from featmap.attention.splat import on_finest, splat
from featmap.attention.tape import AttentionTape, Sampling, Step

__all__ = [
    'ATTENTION',
    'Attended',
    'AttentionTape',
    'BoxWatch',
    'KeyMap',
    'Keys',
    'Matrix',
    'Relevant',
    'Rows',
    'Sampling',
    'Step',
    'asked_rows',
    'check_answers',
    'gradients_of',
    'handed_out',
    'hint',
    'keys_by',
    'matrices_in',
    'on_finest',
    'relevant_for',
    'splat',
]
