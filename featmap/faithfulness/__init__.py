"""Whether an explanation can be trusted: insertion, deletion, where the heat is, controls, and a sanity check."""

from featmap.faithfulness.assessing import assess, inside, localised
from featmap.faithfulness.controls import CONTROLS, box_map, gaussian_map, random_map
from featmap.faithfulness.curves import Curves, Ranked, area, insertion_deletion, measured_curves
from featmap.faithfulness.input_masks import InputMasks
from featmap.faithfulness.localisation import box_mask, energy, energy_of_others, pointing
from featmap.faithfulness.protocol import AREAS, BASELINES, Protocol
from featmap.faithfulness.ranking import ranks
from featmap.faithfulness.result import Faithfulness, Figures
from featmap.faithfulness.road import impute, road

__all__ = [
    'AREAS',
    'BASELINES',
    'CONTROLS',
    'Curves',
    'Faithfulness',
    'Figures',
    'InputMasks',
    'Protocol',
    'Ranked',
    'area',
    'assess',
    'box_map',
    'box_mask',
    'energy',
    'energy_of_others',
    'gaussian_map',
    'impute',
    'insertion_deletion',
    'inside',
    'localised',
    'measured_curves',
    'pointing',
    'random_map',
    'ranks',
    'road',
]
