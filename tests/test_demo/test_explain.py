"""``--explain`` as a user runs it, on the models that are shipped."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featmap.explaining
from featmap.faithfulness import Protocol
from featmap.inferencer import FeatMapInferencer
from featmap.storage import load_maps
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, ROOT, files_under, hooks

DETECTOR = (IMAGE, CONFIG, CHECKPOINT)


@pytest.fixture(scope='module')
def vis():
    return FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu')


def test_a_box_is_explained_by_what_is_in_it(vis):
    result = vis.explain(IMAGE, 'box:0', zoom=True)
    assert (result.heat.shape, result.heat.dtype) == ((640, 1024), np.float32)
    assert (result.heat.min(), result.heat.max()) == (0, 1)
    x1, y1, x2, y2 = np.round(result.explanations[0].box).astype(int)
    assert result.heat[y1:y2, x1:x2].sum() / result.heat.sum() > 0.6
    y, x = np.unravel_index(result.heat.argmax(), result.heat.shape)
    assert x1 <= x < x2
    assert y1 <= y < y2
    # The raw prediction of a box is near its middle.
    row, column = result.trace.cell
    scale = 640 / 1024
    assert abs((column + 0.5) * result.trace.stride - (x1 + x2) / 2 * scale) < result.trace.stride
    assert abs((row + 0.5) * result.trace.stride - (y1 + y2) / 2 * scale - 120) < result.trace.stride
    assert [panel.label.partition(' · ')[0] for panel in result.rendering.panels] == [
        'demo.jpg', 'box 0', 'crop', 'layercam, zoomed',
    ]  # fmt: skip
    assert str(result.trace) in result.rendering.panels[1].label
    assert repr(result).startswith("<ExplainedResult of 'demo.jpg': box 0 · house 0.97 ← ")
    assert hooks(vis.model) == 0


def test_calls_share_the_model_and_leave_feature_maps_as_they_were(vis):
    before = vis(IMAGE, target_layers='neck', panel_size=64).image
    boxes = vis.explain(IMAGE, 'boxes', method=['layercam', 'odam'], target_layers=['backbone.stage3'])
    assert len(boxes.explanations) == 38
    assert {each.layers for each in boxes.explanations} == {('backbone.stage3',)}
    np.testing.assert_array_equal(vis(IMAGE, target_layers='neck', panel_size=64).image, before)
    assert vis.with_options(explain='top').targets == []
    assert 'why top>' in repr(vis.with_options(explain='top'))


def test_an_inferencer_that_explains_answers_other_calls_too():
    why = FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', explain='box:1', panel_size=64)
    assert why(IMAGE).explanations[0].index == 1
    assert 'why box:1>' in repr(why)
    assert why.targets == []
    missed = why.explain(IMAGE, explain_box=(60, 150, 215, 505), explain_class='lighthouse', score_thr=0.95)
    assert missed.explanations[0].notes[-1] == 'score 0.908 < 0.95'
    maps = why(IMAGE, explain=None, target_layers='neck')
    assert [item.name for item in maps.maps] == ['neck[0]', 'neck[1]', 'neck[2]']
    assert len(why.explain([IMAGE, IMAGE], 'top')) == 2


def test_vis_backends_get_each_page(run, tmp_path):
    done = run(
        *DETECTOR, '--explain', 'box:0', '--vis-backends', 'LocalVisBackend', '--out-dir', 'o', '--panel-size', 64
    )
    assert done.status == 0, done.err
    assert files_under(tmp_path) == ['o/demo.png', 'o/vis_data/vis_image/demo_0.png']


def test_what_is_known_of_the_model_is_not_asked_again(monkeypatch):
    asked = []
    choose = featmap.explaining.choose_layers
    monkeypatch.setattr('featmap.explaining.choose_layers', lambda *args: asked.append(args) or choose(*args))
    vis = FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu')
    first, second = (vis.explain(IMAGE, f'box:{number}', panel_size=64) for number in range(2))
    assert len(asked) == 1
    assert first.explanations[0].layers == second.explanations[0].layers
    assert first.trace != second.trace


def test_a_function_of_the_output_is_explained(vis):
    result = vis.explain(
        np.asarray(Image.open(IMAGE)),
        lambda output: output.pred_instances.scores.sum(),
        target_layers='backbone.stage4',
    )
    assert result.heat.max() == 1
    assert result.explanations[0].box is None


def test_everything_that_a_run_can_write(run):
    done = run(
        *DETECTOR, '--explain', 'box:1', '--zoom', '--out-dir', 'o', '--format', 'jpg', '--figure', 'f.svg',
        '--save-maps', 'm.npz', '--panel-size', 128, '--dpi', 50,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.out.split() == ['f.svg', 'm.npz', 'o/demo.jpg']
    assert (
        'no --method and --target-layers: layercam on backbone.stage1, backbone.stage2, backbone.stage3 (product)'
        in (done.err)
    )
    entry = json.loads(Path('m.npz.json').read_text(encoding='utf-8'))['explanations'][0]
    assert entry['label'].startswith('box 1 · ')
    assert (entry['method'], entry['fuse'], entry['raw']['kind']) == ('layercam', 'product', 'dense')
    assert entry['layers'] == ['backbone.stage1', 'backbone.stage2', 'backbone.stage3']
    again = load_maps('m.npz').draw(IMAGE)
    assert [panel.label.partition(' · ')[0] for panel in again.panels] == [
        'demo.jpg',
        'box 1',
        'crop',
        'layercam, zoomed',
    ]
    assert 'box 1' in Path('f.svg').read_text(encoding='utf-8')


def test_panels_go_to_files_of_their_own(run, tmp_path):
    options = ('--method', 'odam', '--target-layers', 'backbone.stage2', '--split', '--out-dir', 'o')
    done = run(*DETECTOR, '--explain', 'box:2', *options, '--panel-size', 64)
    assert done.status == 0, done.err
    assert files_under(tmp_path) == [
        'o/demo.box2.odam.backbone.stage2.map.png', 'o/demo.original.png', 'o/demo.panels.json',
    ]  # fmt: skip


def test_figures_say_how_faithful_it_is(run, monkeypatch):
    monkeypatch.setattr('featmap.faithfulness.Protocol', partial(Protocol, steps=3))
    options = ('--explain', 'box:0', '--faithfulness', '--batch-size', 4, '--save-maps', 'm.npz', '--figure', 'f.svg')
    done = run(*DETECTOR, *options, '--out-file', 'p.png', '--panel-size', 64)
    assert done.status == 0, done.err
    proof = json.loads(Path('m.npz.json').read_text(encoding='utf-8'))['explanations'][0]['faithfulness']
    assert proof['protocol'].startswith('featmap-1')
    assert proof['blur']['insertion'] > 0.75 > 0.25 > proof['blur']['deletion']
    assert proof['blur']['insertion'] > proof['controls']['random']['blur']['insertion'] + 0.1
    assert proof['label'].startswith('insertion ')
    assert 'the box itself: ' in proof['label']  # beside what knows nothing of the model
    assert 'insertion' in Path('f.svg').read_text(encoding='utf-8')


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (
            ['--explain', 'box:99'],
            '--explain box:99: the image has only box:0 to box:18; a lower --score-thr keeps more',
        ),
        (['--explain', 'class:dragon'], 'class:dragon'),
        (['--explain', 'bax:0'], '--explain bax:0: expected box:N'),
        (['--explain', 'box:0', '--method', 'layrcam'], '--method layrcam: no method is called so; nearest: layercam'),
        (['--explain', 'box:0', '--target-layers', 'backbon'], 'backbone'),
        (['--explain', 'box:0', '--target-layers', 'backbone.stage2', '--topk', '3'], '--topk is for feature maps'),
        (['--explain', 'box:0', '--score-thr', '0.999'], '--score-thr'),
        (['--explain-box', '5000,1,5010,9'], 'lies outside of the image of 1024×640 pixels'),
        (['--explain', 'class:sailboat', '--zoom'], '--zoom goes with a box or a region, and class sailboat'),
        (['--explain', 'top', '--at', '1,1'], '--at'),
        (['--explain-mask', 'nowhere.png'], '--explain-mask nowhere.png: there is no such file'),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '',
)
def test_a_slip_is_told_in_one_line(run, tmp_path, options, said):
    done = run(*DETECTOR, *options, '--out-file', 'p.png')
    assert done.status == 2
    assert said in done.error
    assert files_under(tmp_path) == []


@pytest.mark.parametrize('options', [['--explain', 'bax:0'], ['--explain', 'top', '--method', 'layrcam']], ids=' '.join)
def test_a_wrong_word_costs_no_loading(run, options):
    done = run(IMAGE, CONFIG, 'no-such-checkpoint.pth', *options)
    assert done.status == 2
    assert options[-1] in done.error


def test_a_classifier_has_the_image_its_classes_and_a_map(run):
    demo = (ROOT / 'demo' / 'object.jpg', f'{ROOT / "demo" / "classifier.py"}:classifier')
    options = ('--preprocess', 'preprocess', '--explain', 'top', '--save-maps', 'm.npz', '--out-file', 'p.png')
    done = run(*demo, ROOT / 'demo' / 'classifier.pth', *options)
    assert done.status == 0, done.err
    entry = json.loads(Path('m.npz.json').read_text(encoding='utf-8'))['explanations'][0]
    assert (entry['box'], entry['trace']) == (None, None)
    assert len(load_maps('m.npz').draw().panels) == 3


SEGMENTS = '''
import torch
from torch import nn


class Brightness(nn.Module):
    """Class 0 where it is dark, class 1 where it is bright."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 1, 1)
        nn.init.constant_(self.body.weight, 1.0)
        nn.init.constant_(self.body.bias, 0.0)

    def forward(self, inputs):
        bright = self.body(inputs)
        return torch.cat([-bright, bright], dim=1)


def factory():
    return Brightness()
'''


def test_a_segmentation_is_explained_over_a_region(run, tmp_path, photo):
    (tmp_path / 'net.py').write_text(SEGMENTS)
    (tmp_path / 'classes.txt').write_text('dark\nbright\n')
    options = ('--classes', 'classes.txt', '--input-size', 64, 96, '--target-layers', 'body', '--out-file', 'p.png')

    def explained(*asked):
        done = run(photo, 'net.py:factory', 'none', *options, *asked, '--save-maps', 'm.npz')
        assert done.status == 0, done.err
        return load_maps('m.npz')

    whole = explained('--explain', 'class:bright', '--zoom')
    (one,) = whole.explanations
    assert one.region[10:30, 60:80].all()
    assert one.region.sum() == 400
    assert one.heat[20, 70] == 1
    assert one.heat[50, 20] == 0
    assert len(whole.draw().panels) == 4
    (at,) = explained('--at', '70,20').explanations
    assert at.label.startswith('bright')
    assert at.region.sum() == 1
    Image.fromarray(np.full((64, 96), 255, np.uint8)).save('mask.png')
    (masked,) = explained('--explain', 'class:bright', '--explain-mask', 'mask.png').explanations
    assert masked.region.all()


def test_by_what_is_said_once_the_first_image_could_be_explained(run):
    Path('in').mkdir()
    Image.new('RGB', (64, 64), (90, 120, 200)).save('in/a.png')
    Image.open(IMAGE).save('in/b.png')
    done = run('in', *DETECTOR[1:], '--explain', 'top', '--out-dir', 'o', '--panel-size', 64)
    assert done.status == 1
    assert done.err.index('skipped') < done.err.index('no --method and --target-layers: layercam')
