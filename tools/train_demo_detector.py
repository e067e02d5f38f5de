"""Train the detector that is shipped in demo/, measure it and write its checkpoint and model card.

    python tools/train_demo_detector.py                   # train, evaluate, write demo/
    python tools/train_demo_detector.py --evaluate-only   # measure the checkpoint in demo/ again
    python tools/train_demo_detector.py --demo-image      # draw demo/demo.jpg again

It runs on the CPU and needs no data: the scenes are drawn by ``demo_scenes``. All settings are in
``configs/demo/yolov5_n_demo.py``.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import cv2
import torch
from demo_scenes.demo_image import draw_demo_image
from demo_scenes.model_card import model_card
from mmengine.config import Config, DictAction
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from featmap.models.openmmlab.mmcv_ops import ensure_ops

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'demo' / 'yolov5_n_demo.py'
NAME = 'yolov5_n_demo.pth'
PACKAGES = ('torch', 'mmengine', 'mmdet', 'mmyolo', 'numpy', 'opencv-python')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', type=Path, default=CONFIG, help='config to train')
    parser.add_argument('--out', type=Path, default=ROOT / 'demo', help='folder for the results')
    parser.add_argument('--iters', type=int, help='iterations, in place of those of the config')
    parser.add_argument('--seed', type=int, default=0, help='seed of weights, order and changes')
    parser.add_argument('--threads', type=int, default=2, help='CPU threads of PyTorch')
    parser.add_argument('--work-dir', type=Path, help='folder for logs; default: a temporary one')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='further settings, e.g. train_dataloader.dataset.count=800',
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument('--evaluate-only', action='store_true', help='do not train')
    action.add_argument('--demo-image', action='store_true', help='only draw the demo image')
    return parser.parse_args(argv)


def load_config(path: Path, work_dir: Path, iters: int | None = None, seed: int = 0) -> Config:
    """The config, with its schedule stretched to ``iters`` iterations where that is given."""
    ensure_ops()
    cfg = Config.fromfile(path)
    cfg.work_dir = str(work_dir)
    cfg.randomness = {'seed': seed}
    if iters is not None:
        warmup = max(1, min(cfg.warmup_iters, iters // 4))
        cfg.train_cfg.max_iters = iters
        cfg.param_scheduler[0].end = warmup
        cfg.param_scheduler[1].update(begin=warmup, end=iters, T_max=max(1, iters - warmup))
    return cfg


def train(cfg: Config) -> tuple[Runner, float]:
    """Train from random weights; the runner and the wall time of the iterations in seconds."""
    runner = build_runner(cfg)
    start = time.monotonic()
    runner.train()
    return runner, time.monotonic() - start


def build_runner(cfg: Config) -> Runner:
    """A runner for scenes that are drawn: pictures come from memory, boxes travel with them."""
    from demo_scenes import dataset  # noqa: F401  registers DemoSceneDataset
    from mmyolo.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    cfg = copy.deepcopy(cfg)
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline[0] = {'type': 'mmdet.LoadImageFromNDArray'}
    pipeline[-1].meta_keys = (*pipeline[-1].meta_keys, 'instances')
    cfg.test_dataloader.dataset = {**cfg.held_out, 'pipeline': pipeline}
    return Runner.from_cfg(cfg)


def training_record(cfg: Config, seconds: float, seed: int, threads: int) -> dict:
    """What a checkpoint says about how it was made."""
    return {
        'iterations': cfg.train_cfg.max_iters,
        'seconds': round(seconds),
        'seed': seed,
        'threads': threads,
        'python': platform.python_version(),
        'packages': {name: version(name) for name in PACKAGES},
    }


def save_checkpoint(runner: Runner, path: Path, training: dict) -> None:
    """Write the averaged weights in half precision: plain tensors and a plain ``meta``, no more."""
    average = next(hook for hook in runner.hooks if isinstance(hook, EMAHook))
    state = {
        name: value.detach().cpu().half() if value.is_floating_point() else value.detach().cpu()
        for name, value in average.ema_model.module.state_dict().items()
    }
    classes = runner.train_dataloader.dataset.metainfo['classes']
    palette = runner.train_dataloader.dataset.metainfo['palette']
    meta = {
        'dataset_meta': {
            'classes': tuple(classes),
            'palette': [tuple(int(level) for level in color) for color in palette],
        },
        'training': training,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    torch.save({'meta': meta, 'state_dict': state}, partial)
    os.replace(partial, path)


def evaluate(cfg: Config, checkpoint: Path) -> dict[str, float]:
    """COCO figures of a checkpoint file on the held-out scenes.

    Returns:
        ``mAP``, ``mAP50``, ``mAP75``, ``small``, ``medium``, ``large``, and the AP of each class
        under its name; all from 0 to 1.
    """
    cfg = copy.deepcopy(cfg)
    cfg.load_from = str(checkpoint)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    cfg.custom_hooks = []
    metrics = build_runner(cfg).test()
    names = {'bbox_mAP': 'mAP', 'bbox_mAP_50': 'mAP50', 'bbox_mAP_75': 'mAP75'}
    names.update({f'bbox_mAP_{size[0]}': size for size in ('small', 'medium', 'large')})
    names.update({f'{name}_precision': name for name in cfg.classes})
    # The metric gives no figures at all where a detector finds nothing.
    return {short: float(metrics.get(f'coco/{long}', 0.0)) for long, short in names.items()}


def write_demo_image(path: Path) -> None:
    """Draw the demo image into a JPEG file."""
    image, _, _ = draw_demo_image()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise OSError(f'cannot write {path}')


def main(argv: Sequence[str] | None = None) -> dict[str, float] | None:
    """Run the tool; the figures of the checkpoint that it wrote or measured."""
    args = parse_args(argv)
    if args.demo_image:
        write_demo_image(args.out / 'demo.jpg')
        return None
    torch.set_num_threads(args.threads)
    checkpoint = args.out / NAME
    with tempfile.TemporaryDirectory() as scratch:
        cfg = load_config(args.config, args.work_dir or Path(scratch), args.iters, args.seed)
        cfg.merge_from_dict(args.cfg_options)
        if not args.evaluate_only:
            runner, seconds = train(cfg)
            training = training_record(cfg, seconds, args.seed, args.threads)
            save_checkpoint(runner, checkpoint, training)
        figures = evaluate(cfg, checkpoint)
    card = model_card(cfg, torch.load(checkpoint, weights_only=True), checkpoint, figures)
    (args.out / 'MODEL_CARD.md').write_text(card, encoding='utf-8')
    print(f'{checkpoint}: mAP {figures["mAP"]:.3f}, mAP50 {figures["mAP50"]:.3f}')
    return figures


if __name__ == '__main__':
    main()
