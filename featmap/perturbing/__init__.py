"""Inputs of which masks hide a part, and what a model makes of them: for whatever asks without gradients."""

from featmap.perturbing.blending import Blend
from featmap.perturbing.frame import Frame, hats
from featmap.perturbing.influence import Influence, influence
from featmap.perturbing.masks import ChannelMasks, RandomMasks, Windows
from featmap.perturbing.measuring import Masked, Masks

__all__ = [
    'Blend',
    'ChannelMasks',
    'Frame',
    'Influence',
    'Masked',
    'Masks',
    'RandomMasks',
    'Windows',
    'hats',
    'influence',
]
