"""The model card of the demo detector, filled in from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = """\
# Model card: {name}

A small object detector for trying out and testing feature map tools. It was trained from random
weights on drawn scenes and finds eight kinds of drawn objects.

## Architecture

YOLOv5-n as MMYOLO packages it, {parameters:,} parameters, anchors fitted to the training boxes.
Config: `configs/demo/{config}`. The test pipeline resizes an image to fit {test_scale} and pads it
to that size (letterbox).

The checkpoint ({megabytes:.2f} MB) has half-precision weights and `meta` (class names, colours, how it
was trained). It holds plain tensors and plain values only, so that
`torch.load(..., weights_only=True)` reads it.

## Data

Scenes drawn by `tools/demo_scenes`: harbours, meadows and abstract patterns in several kinds of light,
with objects from {min_size:.0f} to {max_size:.0f} px, turned, mirrored, cut off by the border and partly hidden
by one another. A box encloses what can be seen of an object; objects less than {visible:.0%} visible have
none. A seed gives a scene.

| set | scenes | seeds | size in pixels |
|---|---|---|---|
| training | {train_count} | {train_seeds} | {train_sizes} |
| held out | {test_count} | {test_seeds} | {test_sizes} |

## Training

{iterations} iterations of {batch} images, AdamW, learning rate {lr:g} with {warmup} iterations of warm-up and a
cosine decay, weight decay {decay:g}, exponential moving average of the weights; random scale and shift,
flips and HSV changes. Seed {seed}. It took {minutes:.1f} minutes on the CPU with {threads} threads.

Versions: Python {python}, {packages}.

## Figures

COCO metrics of the shipped half-precision file on the held-out scenes, with the shipped config:

| mAP | mAP50 | mAP75 | small (< 32² px) | medium | large (> 96² px) |
|---|---|---|---|---|---|
| {mAP:.3f} | {mAP50:.3f} | {mAP75:.3f} | {small:.3f} | {medium:.3f} | {large:.3f} |

| class | AP (mAP of this class) |
|---|---|
{classes}

## Intended use

Demonstrations and tests of feature map visualization without a download: real activations that respond
to objects, boxes to draw, gradients to explain.

## Limits

- It knows drawn objects only. On photographs its boxes and scores mean nothing.
- Held-out scenes come from the same generator as the training scenes, so the figures say nothing about
  other pictures.
- The smaller an object, the less reliably it is found; see the table.
"""


def model_card(cfg: Any, checkpoint: Mapping[str, Any], path: Path, figures: Mapping[str, float]) -> str:
    """The card's Markdown text.

    Args:
        cfg: The config of the model and its training.
        checkpoint: What is in the checkpoint: ``meta`` and ``state_dict``.
        path: The checkpoint file.
        figures: Figures on the held-out scenes, as the training tool's ``evaluate`` gives them.
    """
    from .scene import MAX_SIZE, MIN_SIZE, MIN_VISIBLE

    training = checkpoint['meta']['training']
    running = ('running_mean', 'running_var', 'num_batches_tracked')
    weights = [v for k, v in checkpoint['state_dict'].items() if not k.endswith(running)]
    train, test = cfg.train_dataloader.dataset, cfg.held_out
    names = checkpoint['meta']['dataset_meta']['classes']
    return CARD.format(
        name=path.name,
        parameters=sum(value.numel() for value in weights),
        config=Path(cfg.filename).name,
        test_scale=_times(cfg.test_scale),
        megabytes=path.stat().st_size / 1e6,
        min_size=MIN_SIZE,
        max_size=MAX_SIZE,
        visible=MIN_VISIBLE,
        train_count=train['count'],
        train_seeds=_seeds(train),
        train_sizes=', '.join(map(_times, train.sizes)),
        test_count=test['count'],
        test_seeds=_seeds(test),
        test_sizes=', '.join(map(_times, test.sizes)),
        iterations=training['iterations'],
        batch=cfg.train_dataloader.batch_size,
        lr=cfg.optim_wrapper.optimizer.lr,
        decay=cfg.optim_wrapper.optimizer.weight_decay,
        warmup=cfg.param_scheduler[0].end,
        seed=training['seed'],
        minutes=training['seconds'] / 60,
        threads=training['threads'],
        python=training['python'],
        packages=', '.join(f'{name} {number}' for name, number in training['packages'].items()),
        classes='\n'.join(f'| {name} | {figures[name]:.3f} |' for name in names),
        **{key: figures[key] for key in ('mAP', 'mAP50', 'mAP75', 'small', 'medium', 'large')},
    )


def _times(size: tuple[int, int]) -> str:
    return f'{size[0]} × {size[1]}'


def _seeds(dataset: Any) -> str:
    first = dataset.first_seed
    return f'{first} to {first + dataset["count"] - 1}'
