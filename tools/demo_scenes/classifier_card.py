"""The model card of the demo classifier, filled in from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .scene import CLASSES
from .single import LARGEST, SMALLEST

CARD = """\
# Model card: {name}

A small image classifier for trying out and testing feature map tools. It was trained from random
weights on drawn scenes with one object each and tells eight kinds of drawn objects apart.

## Architecture

A residual network in plain PyTorch, {parameters:,} parameters: `demo/classifier.py`, with its
preprocessing (shorter side to 208 px, the centre 192 × 192 px). The maps of `stages.0` to `stages.3` are
96 × 96, 48 × 48, 24 × 24 and 12 × 12 cells with 16, 32, 64 and 128 channels. Every layer is centred: a
cell lies in the middle of what it sees.

The file ({megabytes:.2f} MB) has half-precision weights and `meta` (class names, how it was trained). It
holds plain tensors and plain values only, so that `torch.load(..., weights_only=True)` reads it.
`classifier_classes.txt` has the class names, a line each.

## Data

Scenes drawn by `tools/demo_scenes`: harbours, meadows and abstract patterns in several kinds of light,
with one object from {smallest:.0%} to {largest:.0%} of the picture's shorter side, turned, mirrored, anywhere in what
the preprocessing keeps, at times cut off a little. All classes are equally frequent. A seed gives a scene.

| set | scenes | seeds | size in pixels |
|---|---|---|---|
| training | {count} | 0 to {last_seed} | {training_sizes} |
| held out | {held_out} | {held_out_first} to {held_out_last} | {held_out_sizes} |

## Training

{iterations} iterations of {batch} images, AdamW, learning rate {lr:g} with up to {warmup} iterations of warm-up and a
cosine decay, weight decay {decay:g}; random scale, shift, mirroring and changes of colour. Seed {seed}. On the
CPU with {threads} threads, drawing the scenes took {drawing:.1f} minutes and training {minutes:.1f}.

Versions: Python {python}, {packages}.

## Figures

The shipped half-precision file on the held-out scenes: top-1 accuracy **{top1:.2%}** ({right} of {held_out}). The mean
probability of the class found is {score_right:.3f} where it is right{wrong}.

What was found (columns) for each class (rows):

| | {header} | right |
|---|{rule}---|
{rows}

## Intended use

Demonstrations and tests of feature map visualization without a download and without any package of
models: an example of a network of one's own.

## Limits

- It knows drawn objects only and always names one of its classes. On photographs its answers mean nothing.
- One object a picture: where there are several, which one it names is left open.
- Held-out scenes come from the same generator as the training scenes, so the figures say nothing about
  other pictures.
- What lies outside the centre square is not seen.

## Licence

Apache-2.0, as the rest of this project. All pictures were drawn by its own code.
"""


class Figures(NamedTuple):
    """What was measured on held-out scenes.

    Attributes:
        top1: Share of scenes whose class was found, 0 to 1.
        score_right: Mean probability of the class found, where it is right.
        score_wrong: The same where it is wrong; NaN where it never is.
        confusion: Scenes by class (rows) and class found (columns).
    """

    top1: float
    score_right: float
    score_wrong: float
    confusion: list[list[int]]


def classifier_card(path: Path, checkpoint: Mapping[str, Any], settings: Mapping[str, Any], figures: Figures) -> str:
    """The card's Markdown text.

    Args:
        path: The file with the weights.
        checkpoint: What is in it: ``meta`` and ``state_dict``.
        settings: Of the training tool: ``batch``, ``lr``, ``warmup``, ``decay``, ``training_sizes``,
            ``held_out_sizes``, ``held_out_seed``.
        figures: What was measured on held-out scenes.
    """
    training = checkpoint['meta']['training']
    running = ('running_mean', 'running_var', 'num_batches_tracked')
    weights = [value for name, value in checkpoint['state_dict'].items() if not name.endswith(running)]
    held_out = sum(map(sum, figures.confusion))
    right = sum(figures.confusion[k][k] for k in range(len(CLASSES)))
    return CARD.format(
        name=path.name,
        parameters=sum(value.numel() for value in weights),
        megabytes=path.stat().st_size / 1e6,
        smallest=SMALLEST,
        largest=LARGEST,
        count=training['count'],
        last_seed=training['count'] - 1,
        training_sizes=_sizes(settings['training_sizes']),
        held_out=held_out,
        held_out_first=settings['held_out_seed'],
        held_out_last=settings['held_out_seed'] + held_out - 1,
        held_out_sizes=_sizes(settings['held_out_sizes']),
        iterations=training['iterations'],
        **{key: settings[key] for key in ('batch', 'lr', 'warmup', 'decay')},
        **{key: training[key] for key in ('seed', 'threads', 'python')},
        drawing=training['drawing_seconds'] / 60,
        minutes=training['seconds'] / 60,
        packages=', '.join(f'{name} {number}' for name, number in training['packages'].items()),
        top1=figures.top1,
        right=right,
        score_right=figures.score_right,
        wrong=f' and {figures.score_wrong:.3f} where it is wrong' if right < held_out else '',
        header=' | '.join(CLASSES),
        rule='---|' * len(CLASSES),
        rows='\n'.join(_row(name, k, figures.confusion[k]) for k, name in enumerate(CLASSES)),
    )


def _row(name: str, index: int, found: Sequence[int]) -> str:
    share = f'{found[index] / sum(found):.1%}' if sum(found) else '-'
    return f'| {name} | {" | ".join(str(count or "") for count in found)} | {share} |'


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    return ', '.join(f'{width} × {height}' for width, height in sizes)
