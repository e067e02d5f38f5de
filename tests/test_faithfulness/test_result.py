import json

import numpy as np

from featmap.faithfulness import Curves, Faithfulness, Figures, Protocol


def figures(level):
    curves = Curves('blur', np.array([0, level, 1], np.float32), np.array([1, 0.25, 0], np.float32))
    return Figures((curves,), 0.75, float('nan'), 1.0)


def test_the_label_has_the_figures_the_box_and_the_protocol():
    found = Faithfulness(Protocol(steps=2), figures(1.0), {'random': figures(0.0), 'box': figures(0.5)})
    assert found.label == (
        'insertion 0.75 · deletion 0.375 · 75 % inside · maximum inside (the box itself: 0.50, 0.375) · '
        'featmap-1 · IoU × score · 2 equal areas · blur'
    )


def test_a_class_without_a_box_is_held_against_noise():
    curves = figures(1.0).curves
    found = Faithfulness(Protocol(steps=2), Figures(curves), {'random': Figures(curves)})
    assert found.label.startswith('insertion 0.75 · deletion 0.375 (noise: 0.75, 0.375) · ')
    assert Faithfulness(Protocol(), Figures(curves)).label.count('(') == 0


def test_the_sidecar_holds_plain_numbers():
    found = Faithfulness(Protocol(steps=2), figures(1.0), {'box': figures(0.5)})
    again = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert again['blur']['insertion'] == 0.75
    assert again['blur']['deletion_curve'] == [1, 0.25, 0]
    assert again['energy_in_box'] == 0.75
    assert again['energy_in_other_boxes'] is None
    assert again['controls']['box']['blur']['insertion'] == 0.5
    assert again['protocol'] == Protocol(steps=2).name
