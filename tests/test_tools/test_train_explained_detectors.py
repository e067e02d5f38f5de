"""Training detectors of other kinds: their configs, one step of each, and a run of the tool."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from demo_scenes import CLASSES

from featmap import FeatMapInferencer

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'train_explained_detectors.py'
NAMES = ('yolov8', 'rtmdet', 'faster_rcnn', 'dino')
TINY = [
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.dataset.count=2',
    'train_dataloader.dataset.sizes=[(64,64)]',
    'held_out.count=2',
    'held_out.sizes=[(96,64)]',
]


@pytest.fixture(scope='module')
def tool():
    """The tool as a module; importing it makes mmcv's ops available."""
    import train_explained_detectors

    return train_explained_detectors


def first_losses(cfg):
    """The model of a config with random weights, and its losses on two scenes of 64 px."""
    from demo_scenes.dataset import DemoSceneDataset
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import MODELS, DefaultScope
    from mmyolo.datasets import yolov5_collate
    from mmyolo.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
        scenes = DemoSceneDataset(0, 2, [(64, 64)], pipeline=cfg.train_dataloader.dataset.pipeline)
        collate = {'yolov5_collate': yolov5_collate, 'pseudo_collate': pseudo_collate}
        batch = collate[cfg.train_dataloader.collate_fn.type]([scenes[0], scenes[1]])
        return model, model(**model.data_preprocessor(batch, training=True), mode='loss')


def test_all_are_trained_in_the_order_in_which_they_need_each_other(tool):
    assert tool.parse_args(['--out', 'x']).names == list(NAMES)
    assert tool.parse_args(['dino', 'yolov8', 'dino', '--out', 'x']).names == ['yolov8', 'dino']
    assert NAMES.index('faster_rcnn') < NAMES.index('dino')


def test_an_unknown_name_is_refused_with_those_there_are(tool, capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(['yolov9', '--out', 'x'])
    assert f"there is no detector 'yolov9': choose from {', '.join(NAMES)}" in capsys.readouterr().err


@pytest.mark.parametrize('name', NAMES)
def test_a_step_of_training_reaches_the_first_convolution(tool, tmp_path, name):
    cfg = tool.detector_config(name, tmp_path, iters=8)
    model, losses = first_losses(cfg)
    if name == 'faster_rcnn':
        # What the second stage has learned gets to the backbone through RoIAlign alone.
        losses = {key: losses[key] for key in ('loss_cls', 'loss_bbox')}
    model.parse_losses(losses)[0].backward()

    gradient = next(model.backbone.parameters()).grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize('name', NAMES)
def test_a_config_has_the_classes_scenes_and_length_that_were_asked_for(tool, tmp_path, name):
    cfg = tool.detector_config(name, tmp_path, iters=8)

    assert tuple(cfg.classes) == CLASSES
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[1].end == 8
    train, test = cfg.train_dataloader.dataset, cfg.held_out
    assert train.first_seed + train['count'] <= test.first_seed
    start = cfg.model.backbone.get('init_cfg') or {}
    # Nothing is downloaded.
    assert Path(start.get('checkpoint', ROOT)).exists()


def test_a_run_writes_what_featmap_loads_and_states_its_figures(tmp_path):
    # A process of its own, as MMEngine's Runner changes global state.
    command = [sys.executable, TOOL, 'rtmdet', '--out', tmp_path, '--threads', '1', '--iters', '2', '--cfg-options']
    done = subprocess.run([*map(str, command), *TINY], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    assert f'{tmp_path / "rtmdet"}: mAP 0.0' in done.stdout
    folder = tmp_path / 'rtmdet'
    assert sorted(path.name for path in tmp_path.rglob('*') if path.is_file()) == ['rtmdet.pth', 'rtmdet.py']
    assert str(tmp_path) not in (folder / 'rtmdet.py').read_text(encoding='utf-8')
    content = torch.load(folder / 'rtmdet.pth', weights_only=True)
    training = content['meta']['training']
    assert training['iterations'] == 2
    # Batch normalization's statistics and convolutions that levels share are no parameters of their own.
    assert 2_000_000 < training['parameters'] < sum(value.numel() for value in content['state_dict'].values())
    assert {v.dtype for v in content['state_dict'].values() if v.is_floating_point()} == {torch.float16}
    # The whole config is of use, not the weights alone: default layers, pipeline, classes.
    result = FeatMapInferencer(folder / 'rtmdet.py', folder / 'rtmdet.pth')(ROOT / 'demo' / 'demo.jpg')
    assert {found.layer.partition('.')[0] for found in result.maps} <= {'backbone', 'neck'}
