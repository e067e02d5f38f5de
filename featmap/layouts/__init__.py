"""Whatever a layer returns, as maps of (C, h, w): nested outputs, tokens, channels-last."""

from featmap.layouts.declared import declared_layout
from featmap.layouts.grids import EXTRA_TOKENS, Grid, Layout, token_grid
from featmap.layouts.maps import Map, maps_of
from featmap.layouts.nested import Leaf, flatten

__all__ = ['EXTRA_TOKENS', 'Grid', 'Layout', 'Leaf', 'Map', 'declared_layout', 'flatten', 'maps_of', 'token_grid']
