"""The segmentation network whose explanations are measured: its scenes, its training, and what is measured of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from demo_scenes import draw_scene
from demo_scenes.scene import draw_segmented
from evaluate_explanations import main as measure
from explained_segmentor import preprocess, segmentor
from explanation_tables.records import read_records
from explanation_tables.regions import Regions
from PIL import Image
from train_explained_segmentor import SIZE, changed, evaluate, main, sample

from featmap.answers import Answers
from featmap.errors import TargetError
from featmap.geometry import ImageGeometry
from featmap.masks import Segments
from featmap.structures import Detections
from featmap.targets import Scene, TargetSpec
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The weights of a few iterations, and the mean IoU that was measured."""
    path = tmp_path_factory.mktemp('segmentor') / 'segmentor.pth'
    found = main([str(path), '--iters', '3', '--count', '4', '--held-out', '2', '--threads', '1'])
    return path, found


def test_pixels_are_labelled_within_the_boxes_of_the_same_scene():
    image, shown = draw_segmented(5, SIZE)
    pixels, boxes, labels = draw_scene(5, SIZE)
    np.testing.assert_array_equal(image, pixels)
    assert set(np.unique(shown)) == {0, *(1 + labels)}
    inside = np.zeros_like(shown, bool)
    for (x1, y1, x2, y2), label in zip(boxes.astype(int), labels):
        inside[y1:y2, x1:x2] |= shown[y1:y2, x1:x2] == 1 + label
        assert (shown[y1:y2, x1:x2] == 1 + label).mean() > 0.1
    np.testing.assert_array_equal(inside, shown > 0)


def test_labels_are_mirrored_with_their_images():
    torch.manual_seed(0)
    inputs = torch.zeros(1, 3, 4, 8)
    inputs[..., :4] = 10
    labels = torch.arange(8).expand(1, 4, 8)
    sides = set()
    for _ in range(12):
        batch, found = changed(inputs, labels)
        bright = batch[0, 0, 0] > 5
        assert found[0, 0][bright].sort()[0].tolist() == [0, 1, 2, 3]
        sides.add(bool(bright[0]))
    assert sides == {False, True}


@pytest.mark.parametrize(('size', 'shape'), [((640, 400), (128, 192)), ((90, 300), (192, 64)), ((7, 7), (192, 192))])
def test_the_whole_image_is_seen_and_has_logits_everywhere(size, shape):
    inputs = preprocess(Image.new('RGB', size))
    assert inputs.shape == (3, *shape)
    model = segmentor().eval()
    with torch.no_grad():
        assert model(inputs[None]).shape == (1, len(model.classes), shape[0] // 4, shape[1] // 4)


def test_it_begins_with_the_shipped_stages_and_learns(trained):
    state = torch.load(trained[0], weights_only=True)['state_dict']
    assert state.keys() == segmentor().state_dict().keys()
    shipped = torch.load(ROOT / 'demo' / 'classifier.pth', weights_only=True)['state_dict']
    name = 'stages.3.convs.3.weight'
    away = (state[name] - shipped[name]).norm() / shipped[name].float().norm()
    assert 0 < away < 0.3  # of random weights about 1.4
    assert 0 <= trained[1] <= 1


def test_the_iou_of_a_network_that_knows():
    class Knowing(torch.nn.Module):
        """Says what is there, but that it takes every second class for background."""

        def __init__(self):
            super().__init__()
            self.scenes = [sample(1_000_000, (192, 128)), sample(1_000_001, (144, 192))]

        def forward(self, inputs):
            labels = next(shown for each, shown in self.scenes if each.shape == inputs.shape[1:])
            labels = torch.where(labels % 2 == 0, 0, labels)
            return torch.nn.functional.one_hot(labels, 9).permute(2, 0, 1)[None].float()

    found = evaluate(Knowing(), 2)
    occurring = {int(each) for _, shown in Knowing().scenes for each in shown.unique()}
    assert len(found) == len(occurring)
    ious = dict(zip(sorted(occurring), found.values()))
    assert 0.5 < ious.pop(0) < 1
    assert all(iou == label % 2 for label, iou in ious.items())


def scene(numbers, labels):
    geometry = ImageGeometry.whole(numbers.shape)
    drawn = Detections(segments=Segments(numbers, labels))
    planes = torch.zeros(4, *numbers.shape, requires_grad=True)
    return Scene(Answers('segments', planes=planes, detections=drawn, classes=('background', 'a', 'b', 'c')), geometry)


def test_regions_are_the_classes_that_are_more_than_specks():
    numbers = np.zeros((20, 20), np.uint8)
    numbers[:5], numbers[5, :2], numbers[6, 0] = 1, 2, 3  # 100, 2 and 1 of 400 pixels
    chosen = Regions().choose(TargetSpec('regions'), scene(numbers, (3, 1, 2)))
    assert [(one.class_index, int(one.region.sum())) for one in chosen] == [(1, 2), (3, 100)]
    assert Regions().choose(TargetSpec('regions'), scene(np.zeros((20, 20), np.uint8), ())) == []
    with pytest.raises(TargetError, match='no class is predicted'):
        Regions().choose(TargetSpec('regions'), Scene(Answers('segments'), ImageGeometry.whole((2, 2))))


def test_its_regions_are_measured(trained, tmp_path):
    out = tmp_path / 'records.jsonl'
    model = [
        str(ROOT / 'tools' / 'explained_segmentor.py') + ':segmentor',
        str(trained[0]),
        '--preprocess',
        'preprocess',
    ]
    options = [
        '--set',
        'small',
        '--count',
        '1',
        '--areas',
        'equal',
        '--steps',
        '2',
        '--threads',
        '1',
        '--out',
        str(out),
    ]
    page = tmp_path / 'page.md'
    page.write_text('<!-- segmentor: here -->\n<!-- end of segmentor -->\n', encoding='utf-8')
    options += ['--device', 'cpu', '--write', str(page), '--name', 'segmentor']
    measure([*model, *options, '--maps', 'layercam@stages.1', '--controls', 'box'])
    head, records = read_records(out)
    assert head['explain'] == 'regions'
    regions = [record for record in records if record.map == 'box']
    assert len(regions) == len(records) / 2 == records[0].targets
    assert all(record.share >= 0.005 and record.energy == 1 for record in regions)
    text = page.read_text(encoding='utf-8')
    assert 'heat in the region' in text
    assert 'box' not in text
