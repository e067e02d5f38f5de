"""Whatever a layer returns, as maps of (C, h, w): nested outputs, tokens, channels-last."""

from featmap.layouts.declared import declared_layout
from featmap.layouts.grids import EXTRA_TOKENS, Grid, Layout, token_grid
from featmap.layouts.maps import Map, check_extra_tokens, maps_of
from featmap.layouts.nested import Leaf, flatten

__all__ = [
    'EXTRA_TOKENS',
    'Grid',
    'Layout',
    'Leaf',
    'Map',
    'check_extra_tokens',
    'declared_layout',
    'flatten',
    'maps_of',
    'token_grid',
]
