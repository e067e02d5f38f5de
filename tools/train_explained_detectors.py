"""Train small detectors of four kinds on the demo's scenes, to measure explanations of more than YOLOv5.

    python tools/train_explained_detectors.py --out DIR                     # all four, one after the other
    python tools/train_explained_detectors.py --out DIR rtmdet faster_rcnn  # some of them
    python tools/train_explained_detectors.py --out DIR --evaluate-only     # measure what is in DIR again

For each it writes ``DIR/NAME/NAME.py``, a complete config, and ``DIR/NAME/NAME.pth``, and prints its figures on
held-out scenes. Its model is in ``configs/demo/explained/NAME.py``; scenes, augmentation and schedule are those of the
shipped detector's config, made smaller as that file's ``training`` says. It runs on the CPU and needs no data.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict, DictAction
from train_demo_detector import CONFIG, ROOT, evaluate, load_config, save_checkpoint, train, training_record

MODELS = ROOT / 'configs' / 'demo' / 'explained'
NAMES = ('yolov8', 'rtmdet', 'faster_rcnn', 'dino')
# Half of the shipped detector's, as explaining takes hundreds of forwards an image; objects keep their size in pixels.
HELD_OUT_SIZES = [(320, 200), (240, 320), (320, 320)]
# Of the shipped detector's config, what training and measuring read; the rest is its base's.
PARTS = (
    'classes',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'held_out',
    'test_dataloader',
    'test_cfg',
    'test_evaluator',
    'default_hooks',
    'custom_hooks',
    'log_processor',
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'what to train: {", ".join(NAMES)}; default: all')
    parser.add_argument('--out', type=Path, required=True, help='folder for the results, one folder each')
    parser.add_argument('--iters', type=int, help='iterations, in place of those of the configs')
    parser.add_argument('--seed', type=int, default=0, help='seed of weights, order and changes')
    parser.add_argument('--threads', type=int, default=2, help='CPU threads of PyTorch')
    parser.add_argument('--evaluate-only', action='store_true', help='do not train')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='further settings, e.g. train_dataloader.dataset.count=800',
    )
    args = parser.parse_args(argv)
    for name in args.names:
        if name not in NAMES:
            parser.error(f"there is no detector '{name}': choose from {', '.join(NAMES)}")
    args.names = [name for name in NAMES if name in (args.names or NAMES)]
    return args


def detector_config(name: str, work_dir: Path, iters: int | None = None, seed: int = 0) -> Config:
    """A detector's model with the shipped detector's scenes and schedule, sized as its ``training`` says.

    Args:
        name: One of ``NAMES``.
        work_dir: Folder for logs.
        iters: Iterations, in place of ``training``'s.
        seed: Seed of weights, order and changes.
    """
    own = Config.fromfile(MODELS / f'{name}.py')
    wanted = own.training
    demo = load_config(CONFIG, work_dir, iters or wanted.max_iters, seed)
    cfg = Config({key: demo[key] for key in (*PARTS, 'work_dir', 'randomness')})
    cfg.merge_from_dict({'default_scope': own.default_scope, 'model': own.model})
    cfg.optim_wrapper.optimizer.lr = wanted.lr
    # RTMDet's levels share convolutions.
    cfg.optim_wrapper.paramwise_cfg.bypass_duplicate = True
    cfg.param_scheduler[1].eta_min = wanted.lr / 100
    if 'backbone' in wanted:
        cfg.model.backbone.init_cfg = {
            'type': 'Pretrained',
            'checkpoint': str(ROOT / wanted.backbone),
            'prefix': 'backbone.',
        }
        cfg.optim_wrapper.paramwise_cfg.custom_keys = {'backbone': {'lr_mult': wanted.backbone_lr}}
    if 'clip_grad' in wanted:
        cfg.optim_wrapper.clip_grad = {'max_norm': wanted.clip_grad}
    cfg.train_dataloader.batch_size = wanted.batch_size
    cfg.train_dataloader.dataset.update(count=wanted.scenes, sizes=[(wanted.scale, wanted.scale)])
    cfg.held_out.sizes = HELD_OUT_SIZES
    train_steps, test_steps = cfg.train_dataloader.dataset.pipeline, cfg.test_dataloader.dataset.pipeline
    scale = (wanted.test_scale, wanted.test_scale)
    if own.default_scope == 'mmdet':
        _speak_mmdet(train_steps, test_steps, (wanted.scale, wanted.scale), scale)
        cfg.train_dataloader.collate_fn = {'type': 'pseudo_collate'}
    else:
        test_steps[1].scale = test_steps[2].scale = scale
    return cfg


def _speak_mmdet(
    train_steps: list[ConfigDict],
    test_steps: list[ConfigDict],
    train_scale: tuple[int, int],
    test_scale: tuple[int, int],
) -> None:
    """Change MMYOLO's steps of the pipelines, in place, into what MMDetection's models expect."""
    for step in train_steps:
        if step.type.startswith('YOLO'):
            step.type = f'mmyolo.{step.type}'
    # MMYOLO's steps leave an image's shape with its channels behind; DINO wants height and width alone.
    train_steps.insert(-1, ConfigDict(type='Resize', scale=train_scale, keep_ratio=True))
    test_steps[1:3] = [
        ConfigDict(type='Resize', scale=test_scale, keep_ratio=True),
        ConfigDict(type='Pad', size=test_scale, pad_val={'img': (114, 114, 114)}),
    ]
    test_steps[-1].meta_keys = tuple(key for key in test_steps[-1].meta_keys if key != 'pad_param')


def write_config(cfg: Config, path: Path) -> None:
    """Write a config that is complete in itself, without the paths of this run."""
    cfg = Config(cfg.to_dict())
    cfg.pop('work_dir')
    cfg.model.backbone.init_cfg = None
    path.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(path)


def run(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train a detector unless it is only measured: its parameters, training time in seconds and COCO figures."""
    folder = args.out / name
    checkpoint = folder / f'{name}.pth'
    with tempfile.TemporaryDirectory() as scratch:
        cfg = detector_config(name, Path(scratch), args.iters, args.seed)
        cfg.merge_from_dict(args.cfg_options)
        if not args.evaluate_only:
            write_config(cfg, folder / f'{name}.py')
            runner, seconds = train(cfg)
            record = training_record(cfg, seconds, args.seed, args.threads)
            record['parameters'] = sum(value.numel() for value in runner.model.parameters())
            save_checkpoint(runner, checkpoint, record)
        figures = evaluate(cfg, checkpoint)
    training = torch.load(checkpoint, weights_only=True)['meta']['training']
    return {'parameters': training['parameters'], 'seconds': training['seconds'], **figures}


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Run the tool; each detector's figures under its name."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    results = {name: run(name, args) for name in args.names}
    for name, figures in results.items():
        print(
            f'{args.out / name}: mAP {figures["mAP"]:.3f}, mAP50 {figures["mAP50"]:.3f}, '
            f'{figures["parameters"]:,} parameters, trained for {figures["seconds"] / 60:.1f} minutes'
        )
    return results


if __name__ == '__main__':
    main()
