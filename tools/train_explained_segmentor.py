"""Train a small segmentation network on the demo's scenes, to measure explanations of segmentation.

    python tools/train_explained_segmentor.py DIR/segmentor.pth
    python tools/train_explained_segmentor.py DIR/segmentor.pth --evaluate-only

The network is ``explained_segmentor.py``; it begins with the shipped classifier's stages. Minutes on a CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from demo_scenes.scene import CLASSES, draw_segmented
from explained_segmentor import SIDE, Segmentor, preprocess, segmentor
from PIL import Image
from torch import Tensor
from torch.nn import functional
from train_demo_classifier import DECAY, HELD_OUT_SEED, ROOT, mean

SIZE = (SIDE, SIDE)
HELD_OUT_SIZES = ((192, 128), (144, 192), (192, 192))
STRIDE, BATCH, RATE = 4, 16, 2e-3
BACKGROUND = 0.3  # the weight of its cells, which are most


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path, help='file of the weights')
    parser.add_argument('--iters', type=int, default=700, help=f'iterations of {BATCH} scenes')
    parser.add_argument('--count', type=int, default=1000, help='scenes to train on')
    parser.add_argument('--held-out', type=int, default=120, help='scenes to measure on')
    parser.add_argument('--seed', type=int, default=0, help='seed of weights, order and changes')
    parser.add_argument('--threads', type=int, default=2, help='CPU threads of PyTorch')
    parser.add_argument('--evaluate-only', action='store_true', help='do not train')
    return parser.parse_args(argv)


def sample(seed: int, size: tuple[int, int] = SIZE) -> tuple[Tensor, Tensor]:
    """A scene's input (3, H, W), and for each pixel 0 or 1 + its class, (H, W) int64."""
    image, shown = draw_segmented(seed, size)
    return preprocess(Image.fromarray(image)), torch.from_numpy(shown).long()


def train(count: int, iters: int, seed: int = 0) -> Segmentor:
    """Train from the shipped classifier's stages; the network in evaluation mode."""
    torch.manual_seed(seed)
    model = segmentor().train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trunk = torch.load(ROOT / 'demo' / 'classifier.pth', weights_only=True)['state_dict']
    model.load_state_dict({name: value for name, value in trunk.items() if 'head.' not in name}, strict=False)
    scenes = [sample(number) for number in range(count)]
    inputs = torch.stack([each.half() for each, _ in scenes])
    labels = torch.stack([each[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE] for _, each in scenes])
    weights = torch.tensor([BACKGROUND] + [1.0] * len(CLASSES))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=iters + 1, pct_start=0.1)
    losses = []
    for number in range(iters):
        chosen = torch.randint(count, (BATCH,))
        batch, wanted = changed(inputs[chosen].float(), labels[chosen])
        logits = model(batch.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits, wanted, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (number + 1) % 50 == 0:
            print(f'{number + 1}/{iters}: loss {mean(losses):.3f}', flush=True)
            losses = []
    return model.eval()


def changed(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Training images (N, 3, H, W) recoloured at random, half of the time all mirrored with their labels (N, h, w)."""
    count = len(inputs)
    inputs = inputs * (0.8 + 0.4 * torch.rand(count, 1, 1, 1)) + 0.6 * torch.rand(count, 3, 1, 1) - 0.3
    return (inputs.flip(-1), labels.flip(-1)) if torch.rand(()) < 0.5 else (inputs, labels)


@torch.no_grad()
def evaluate(model: Segmentor, count: int) -> dict[str, float]:
    """The IoU of each class that occurs in held-out scenes, pixel by pixel over all of them."""
    classes = 1 + len(CLASSES)
    confusion = torch.zeros(classes, classes, dtype=torch.long)
    for number in range(count):
        inputs, labels = sample(HELD_OUT_SEED + number, HELD_OUT_SIZES[number % len(HELD_OUT_SIZES)])
        found = functional.interpolate(model(inputs[None]), labels.shape, mode='bilinear')[0].argmax(dim=0)
        pairs = (labels * classes + found).flatten()
        confusion += torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    common, either = confusion.diag(), confusion.sum(0) + confusion.sum(1) - confusion.diag()
    names = ('background', *CLASSES)
    return {name: float(common[k] / either[k]) for k, name in enumerate(names) if confusion[k].any()}


def main(argv: Sequence[str] | None = None) -> float:
    """Train, write and measure; the mean IoU of the classes of objects."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    if not args.evaluate_only:
        start = time.monotonic()
        model = train(args.count, args.iters, args.seed)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        torch.save({'state_dict': {name: value.contiguous() for name, value in model.state_dict().items()}}, args.out)
        print(f'{args.out}: trained for {(time.monotonic() - start) / 60:.1f} minutes')
    model = segmentor().eval()
    model.load_state_dict(torch.load(args.out, weights_only=True)['state_dict'])
    found = evaluate(model, args.held_out)
    objects = mean([value for name, value in found.items() if name != 'background'])
    print(', '.join(f'{name} {value:.2f}' for name, value in found.items()))
    print(f'{args.out}: mean IoU {objects:.3f} over classes of objects in {args.held_out} held-out scenes')
    return objects


if __name__ == '__main__':
    main()
