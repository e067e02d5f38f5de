"""The training tool, run as a developer runs it, and the detector that it made."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_scenes import CLASSES, PALETTE
from demo_scenes.demo_image import draw_demo_image
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'train_demo_detector.py'
CONFIG = ROOT / 'configs' / 'demo' / 'yolov5_n_demo.py'
CHECKPOINT = ROOT / 'demo' / 'yolov5_n_demo.pth'
CARD = ROOT / 'demo' / 'MODEL_CARD.md'

TINY = [
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.dataset.count=4',
    'train_dataloader.dataset.sizes=[(64,64)]',
    'held_out.count=2',
    'held_out.sizes=[(96,64)]',
    'test_dataloader.dataset.pipeline.1.scale=(96,96)',
    'test_dataloader.dataset.pipeline.2.scale=(96,96)',
]


def run_tool(*args):
    """Run the tool in a process of its own, as MMEngine's Runner changes global state."""
    # One thread: on a busy machine, threads that wait for one another are slower than none.
    command = [sys.executable, str(TOOL), '--threads', '1', *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def figures_in(card):
    """mAP, mAP50 and mAP75 as a card states them."""
    row = re.search(r'^\| mAP \|.*\n\|[-|]+\n\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|', card, re.M)
    assert row is not None
    return [float(value) for value in row.groups()]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with what a run of two iterations writes."""
    out = tmp_path_factory.mktemp('demo')
    run_tool('--iters', 2, '--out', out, '--cfg-options', *TINY)
    return out


@pytest.fixture(scope='module', params=['trained', 'shipped'])
def checkpoint(request):
    """The path of a checkpoint: one just made, and the one in demo/."""
    if request.param == 'shipped':
        return CHECKPOINT
    return request.getfixturevalue('trained') / CHECKPOINT.name


def test_a_run_writes_checkpoint_and_card_and_nothing_else(trained):
    assert sorted(path.name for path in trained.iterdir()) == ['MODEL_CARD.md', CHECKPOINT.name]


def test_a_checkpoint_is_small_and_holds_plain_half_precision_weights(checkpoint):
    assert checkpoint.stat().st_size <= 5_000_000
    content = torch.load(checkpoint, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    assert content['meta']['dataset_meta']['classes'] == CLASSES
    assert content['meta']['dataset_meta']['palette'] == list(PALETTE)
    floating = [v for v in content['state_dict'].values() if v.is_floating_point()]
    assert len(floating) > 100
    assert {value.dtype for value in floating} == {torch.float16}
    assert all(torch.isfinite(value).all() for value in floating)


def test_a_checkpoint_fits_the_config_exactly(checkpoint):
    load_model(checkpoint)


def test_the_card_states_what_was_run_and_measured(trained):
    card = (trained / 'MODEL_CARD.md').read_text(encoding='utf-8')
    assert all(0 <= value <= 1 for value in figures_in(card))
    assert '2 iterations of 2 images' in card
    assert '| training | 4 | 0 to 3 | 64 × 64 |' in card
    assert '{' not in card
    for name in CLASSES:
        assert re.search(rf'^\| {name} \| [01]\.\d{{3}} \|$', card, re.M)


def test_the_demo_image_is_drawn_on_request(tmp_path):
    run_tool('--demo-image', '--out', tmp_path)
    paths = (tmp_path / 'demo.jpg', ROOT / 'demo' / 'demo.jpg')
    drawn, shipped = (np.asarray(Image.open(path)).astype(int) for path in paths)
    # OpenCV's versions differ a little at the edges of shapes, and so do JPEG's encoders.
    assert drawn.shape == shipped.shape
    assert np.abs(drawn - shipped).mean() < 0.1
    assert np.abs(drawn - shipped).max() < 40


def test_the_config_names_the_classes_of_the_generator_and_keeps_its_sets_apart():
    cfg = load_config()
    assert tuple(cfg.classes) == CLASSES
    assert [tuple(color) for color in cfg.palette] == list(PALETTE)
    train, test = cfg.train_dataloader.dataset, cfg.held_out
    assert train.first_seed + train['count'] <= test.first_seed


def test_the_shipped_detector_reaches_its_figures_on_held_out_scenes(tmp_path):
    shutil.copy(CHECKPOINT, tmp_path)
    run_tool('--evaluate-only', '--out', tmp_path, '--cfg-options', 'held_out.count=40')
    measured = figures_in((tmp_path / 'MODEL_CARD.md').read_text(encoding='utf-8'))
    stated = figures_in(CARD.read_text(encoding='utf-8'))
    assert measured[1] >= 0.85
    assert stated[1] >= 0.85
    # Forty scenes are a sample of the two hundred that the card is about.
    np.testing.assert_allclose(measured, stated, atol=0.06)


def test_the_shipped_detector_finds_the_objects_of_the_demo_image_and_no_others():
    _, boxes, labels = draw_demo_image()
    found = detect(CHECKPOINT, ROOT / 'demo' / 'demo.jpg')
    found = found[found.scores > 0.3].numpy()
    overlap = iou(boxes, found.bboxes) * (labels[:, None] == found.labels[None])
    best = overlap.argmax(axis=1)
    assert (overlap.max(axis=1) > 0.6).all()
    assert (found.scores[best] > 0.5).all()
    assert len(found.scores) == len(boxes)


def test_the_config_works_with_the_tools_of_mmdetection():
    load_config()
    from mmdet.apis import init_detector
    from mmengine.registry import DefaultScope
    from mmyolo.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = init_detector(str(CONFIG), str(CHECKPOINT), device='cpu')
    assert model.dataset_meta == {'classes': CLASSES, 'palette': list(PALETTE)}


def load_config():
    from mmengine.config import Config

    from featmap.models.openmmlab.mmcv_ops import ensure_ops

    ensure_ops()
    return Config.fromfile(CONFIG)


def load_model(path):
    """The detector with a checkpoint's weights, every one of which has to fit."""
    cfg = load_config()
    import mmyolo.datasets.transforms
    import mmyolo.models  # noqa: F401
    from mmengine.registry import DefaultScope
    from mmyolo.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(cfg.model)
    model.load_state_dict(torch.load(path, weights_only=True)['state_dict'])
    return model.eval()


def detect(checkpoint, image):
    """What a checkpoint finds in an image file, by the config's own test pipeline."""
    from mmengine.dataset import Compose, pseudo_collate
    from mmengine.registry import DefaultScope

    model = load_model(checkpoint)
    with DefaultScope.overwrite_default_scope('mmyolo'), torch.no_grad():
        pipeline = Compose(load_config().test_dataloader.dataset.pipeline)
        data = pipeline({'img_path': str(image), 'img_id': 0})
        return model.test_step(pseudo_collate([data]))[0].pred_instances


def iou(first, second):
    """The overlap of each box (N, 4) with each (M, 4): (N, M), 0 to 1."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    return shared / (area[0][:, None] + area[1][None] - shared)
