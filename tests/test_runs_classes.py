"""What classifiers and segmenters found, from the forward to pictures, files and notebooks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from featmap import FeatMapInferencer
from featmap.errors import OptionError
from featmap.storage import load_maps, save_maps

IMAGE = np.zeros((40, 80, 3), np.uint8)
IMAGE[:, :40] = 255, 0, 0
IMAGE[:, 40:60], IMAGE[:, 60:] = (0, 255, 0), (0, 0, 255)
NAMES = ['red, crimson', 'green', 'blue']


class Colours(nn.Module):
    """Says which colour there is most of; the logarithm of its share, so that probabilities are shares."""

    def __init__(self, answer: str = 'classes') -> None:
        super().__init__()
        self.stem = nn.Identity()
        self.head = nn.Identity()
        self.answer = answer

    def forward(self, image):
        features = self.stem(image)
        if self.answer == 'planes':
            return {'out': self.head(features)}
        scores = self.head(features.mean(dim=(2, 3)).clamp(min=1e-9).log())
        return scores if self.answer == 'classes' else {'what': scores, 'who': scores}


def as_is(image):
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255


def build(model: nn.Module, **options) -> FeatMapInferencer:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return FeatMapInferencer(
            model=model, preprocess=as_is, target_layers=['stem'], device='cpu', classes=NAMES, **options
        )


def test_a_classifier(tmp_path):
    vis = build(Colours())
    result = vis(IMAGE)
    best = result.predictions.classification
    np.testing.assert_allclose(best.scores, [0.5, 0.25, 0.25], rtol=1e-5)
    assert best.labels.tolist() == [0, 1, 2]
    assert repr(result).endswith('1 map, red 50.0%>')
    original, classes = result.rendering.panels[:2]
    assert original.label.endswith(' · red 50.0%')
    assert classes.label == 'top 3 · red 50.0% · green 25.0% · blue 25.0%'  # the panel is too small for text
    assert result._repr_png_().startswith(b'\x89PNG')
    assert 'top 3' in [text.get_text() for text in result.figure().texts]
    redrawn = load_maps(save_maps(tmp_path / 'a.npz', vis.record(result))).draw(IMAGE)
    np.testing.assert_array_equal(redrawn.image, result.image)


def test_without_boxes_the_forward_ends_early():
    model = Colours()
    ran = []
    model.head.register_forward_hook(lambda *_: ran.append(1))
    result = build(model, boxes=False)(IMAGE)
    assert result.predictions is None
    assert ran == []
    assert [panel.label.split(' · ')[0] for panel in result.rendering.panels] == ['image', 'stem']


def test_a_segmenter():
    result = build(Colours('planes'))(IMAGE)
    numbers, labels = result.predictions.segments.numbers, result.predictions.segments.labels
    np.testing.assert_array_equal(np.array([-1, *labels])[numbers][7], [0] * 40 + [1] * 20 + [2] * 20)
    assert result.rendering.panels[0].label.endswith('· 3 classes')


def test_an_output_of_no_known_kind_leaves_the_maps():
    result = build(Colours('unknown'))(IMAGE)
    assert result.predictions is None
    assert len(result.rendering.panels) == 2


@pytest.mark.parametrize(
    ('answer', 'has'), [('classes', 'red 50.0%'), ('planes', '3 classes'), ('unknown', 'an output of no known kind')]
)
def test_what_takes_boxes_says_that_there_are_none(tmp_path, answer, has):
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels' / 'a.txt').write_text('0 0.5 0.5 0.2 0.2\n', encoding='utf-8')
    with pytest.raises(OptionError, match=f'gt needs boxes with classes, and this model has {has}'):
        build(Colours(answer), gt=str(tmp_path / 'labels' / 'a.txt'))(IMAGE)
    with pytest.raises(OptionError, match="crop='box:0' needs detections, and this model gives none"):
        build(Colours(answer), crop='box:0')(IMAGE)
