"""Train the image classifier that is shipped in demo/, measure it and write its weights and model card.

    python tools/train_demo_classifier.py                   # train, evaluate, write demo/classifier.pth and its card
    python tools/train_demo_classifier.py --evaluate-only   # measure the weights in demo/ again
    python tools/train_demo_classifier.py --example-image   # draw demo/object.jpg again

It runs on the CPU and needs no data: the scenes are drawn by ``demo_scenes``. The network is ``demo/classifier.py``.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from demo_scenes import CLASSES
from demo_scenes.classifier_card import Figures, classifier_card
from demo_scenes.single import draw_single
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'demo'))

from classifier import classifier, preprocess  # noqa: E402

NAME = 'classifier.pth'
PACKAGES = ('torch', 'numpy', 'pillow', 'opencv-python')
# Width and height of the scenes, taken in turn. Their number shares no divisor with that of the classes, which are
# taken in turn as well.
TRAINING_SIZES = ((320, 208), (208, 320), (240, 240), (400, 300), (300, 400))
HELD_OUT_SIZES = ((640, 400), (480, 640), (512, 512))
HELD_OUT_SEED = 1_000_000
EXAMPLE = (1_000_051, (640, 400))  # seed, width and height; one of the held-out scenes
BATCH, LEARNING_RATE, WARMUP, DECAY = 32, 2e-3, 100, 0.05


class Singles(Dataset):
    """Scenes with one object, ready for the network: (3, 192, 192) float16, and the label."""

    def __init__(self, first_seed: int, count: int, sizes: Sequence[tuple[int, int]]) -> None:
        self.first_seed, self.count, self.sizes = first_seed, count, sizes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, _, label = draw_single(self.first_seed + index, self.sizes[index % len(self.sizes)])
        return preprocess(Image.fromarray(image)).half(), label

    def drawn(self, processes: int) -> tuple[Tensor, Tensor]:
        """All of them: (N, 3, 192, 192) float16 and labels (N,)."""
        workers = processes if processes > 1 else 0
        parts = list(DataLoader(self, batch_size=BATCH, num_workers=workers))
        return torch.cat([inputs for inputs, _ in parts]), torch.cat([labels for _, labels in parts])


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=ROOT / 'demo', help='folder for the results')
    parser.add_argument('--iters', type=int, default=1500, help=f'iterations of {BATCH} images')
    parser.add_argument('--count', type=int, default=6400, help='scenes to train on')
    parser.add_argument('--held-out', type=int, default=1200, help='scenes to measure on')
    parser.add_argument('--seed', type=int, default=0, help='seed of weights, order and changes')
    parser.add_argument('--threads', type=int, default=2, help='CPU threads of PyTorch')
    action = parser.add_mutually_exclusive_group()
    action.add_argument('--evaluate-only', action='store_true', help='do not train')
    action.add_argument('--example-image', action='store_true', help='only draw the example image')
    return parser.parse_args(argv)


def train(inputs: Tensor, labels: Tensor, iters: int, seed: int) -> nn.Module:
    """Train from random weights; the network in evaluation mode."""
    torch.manual_seed(seed)
    # Channels last: twice as fast on the CPU.
    model = classifier().train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = [value for value in model.parameters() if value.ndim > 1]
    others = [value for value in model.parameters() if value.ndim == 1]
    groups = [{'params': weights, 'weight_decay': DECAY}, {'params': others, 'weight_decay': 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    warmup = max(1, min(WARMUP, iters // 4))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: min((k + 1) / warmup, (1 + math.cos(math.pi * max(0, k - warmup) / max(1, iters - warmup))) / 2),
    )
    order = torch.empty(0, dtype=torch.long)
    losses, right = [], []
    for k in range(iters):
        if len(order) < BATCH:
            order = torch.cat([order, torch.randperm(len(labels))])
        chosen, order = order[:BATCH], order[BATCH:]
        logits = model(changed(inputs[chosen].float()).contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        right.append((logits.argmax(1) == labels[chosen]).float().mean().item())
        if (k + 1) % 100 == 0 or k + 1 == iters:
            print(f'{k + 1}/{iters}: loss {mean(losses):.3f}, right {mean(right):.3f}', flush=True)
            losses, right = [], []
    return model.eval()


def changed(inputs: Tensor) -> Tensor:
    """Training images (N, 3, H, W) mirrored, shifted, scaled and recoloured at random."""
    count = len(inputs)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape)

    scale = uniform(0.85, 1.2)
    place = torch.zeros(count, 2, 3)
    place[:, 0, 0] = scale * torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    place[:, 1, 1] = scale
    place[:, :, 2] = uniform(-0.1, 0.1, 2)
    grid = functional.affine_grid(place, list(inputs.shape), align_corners=False)
    moved = functional.grid_sample(inputs, grid, padding_mode='reflection', align_corners=False)
    return moved * uniform(0.8, 1.2, 1, 1, 1) + uniform(-0.3, 0.3, 3, 1, 1)


def mean(values: Sequence[float]) -> float:
    """The mean of some numbers."""
    return sum(values) / len(values)


def save_weights(model: nn.Module, path: Path, training: dict) -> None:
    """Write the weights in half precision: plain tensors and a plain ``meta``, no more."""
    state = {
        name: value.detach().contiguous().half() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    torch.save({'meta': {'classes': CLASSES, 'training': training}, 'state_dict': state}, partial)
    os.replace(partial, path)


@torch.no_grad()
def evaluate(path: Path, count: int, processes: int) -> Figures:
    """What the weights in a file reach on held-out scenes."""
    model = classifier().eval()
    model.load_state_dict(torch.load(path, weights_only=True)['state_dict'])
    inputs, labels = Singles(HELD_OUT_SEED, count, HELD_OUT_SIZES).drawn(processes)
    probabilities = torch.cat([model(part.float()).softmax(1) for part in inputs.split(BATCH)])
    score, found = probabilities.max(1)
    confusion = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.long)
    confusion.index_put_((labels, found), torch.ones_like(labels), accumulate=True)
    right = found == labels
    return Figures(
        top1=right.double().mean().item(),
        score_right=score[right].mean().item(),
        score_wrong=score[~right].mean().item(),
        confusion=confusion.tolist(),
    )


def write_example_image(path: Path) -> None:
    """Draw the example image into a JPEG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_single(*EXAMPLE)[0]).save(path, quality=92)


def main(argv: Sequence[str] | None = None) -> Figures | None:
    """Run the tool; the figures of the weights that it wrote or measured."""
    args = parse_args(argv)
    if args.example_image:
        write_example_image(args.out / 'object.jpg')
        return None
    torch.set_num_threads(args.threads)
    path = args.out / NAME
    if not args.evaluate_only:
        start = time.monotonic()
        inputs, labels = Singles(0, args.count, TRAINING_SIZES).drawn(args.threads)
        drawn = time.monotonic()
        print(f'drew {len(labels)} scenes in {drawn - start:.0f} s', flush=True)
        model = train(inputs, labels, args.iters, args.seed)
        training = {
            'count': args.count,
            'iterations': args.iters,
            'drawing_seconds': round(drawn - start),
            'seconds': round(time.monotonic() - drawn),
            'seed': args.seed,
            'threads': args.threads,
            'python': platform.python_version(),
            'packages': {name: version(name) for name in PACKAGES},
        }
        save_weights(model, path, training)
        (args.out / 'classifier_classes.txt').write_text('\n'.join(CLASSES) + '\n', encoding='utf-8')
    figures = evaluate(path, args.held_out, args.threads)
    settings = {
        'batch': BATCH,
        'lr': LEARNING_RATE,
        'warmup': WARMUP,
        'decay': DECAY,
        'training_sizes': TRAINING_SIZES,
        'held_out_sizes': HELD_OUT_SIZES,
        'held_out_seed': HELD_OUT_SEED,
    }
    card = classifier_card(path, torch.load(path, weights_only=True), settings, figures)
    (args.out / 'CLASSIFIER_CARD.md').write_text(card, encoding='utf-8')
    print(f'{path}: top-1 {figures.top1:.4f} of {args.held_out} held-out scenes')
    return figures


if __name__ == '__main__':
    main()
