"""Train a small segmentation network on the demo's scenes, so that its explanations can be measured.

    python tools/explained_segmentor.py segmentor.pth
    featmap scene.png tools/explained_segmentor.py:segmentor segmentor.pth --preprocess preprocess

The shipped classifier's stages, which stay as they are, and a decoder of two convolutions. Minutes on a CPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / 'demo'), str(ROOT / 'tools')]

from classifier import CLASSES, Classifier, classifier, preprocess  # noqa: E402
from demo_scenes.single import draw_masked  # noqa: E402

SIZES = ((320, 208), (208, 320), (240, 240))
HELD_OUT = 1_000_000
BATCH, RATE = 8, 3e-3


class Segmentor(nn.Module):
    """A classifier's stages, and logits of what each cell of stride 4 shows: (N, 1 + classes, h, w)."""

    def __init__(self, trunk: Classifier, width: int = 32) -> None:
        super().__init__()
        self.stem, self.stages = trunk.stem, trunk.stages
        channels = sum(stage.convs[3].out_channels for stage in list(trunk.stages)[1:])  # type: ignore[union-attr,index]
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1 + len(CLASSES), 1)
        )
        self.classes = ('background', *CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images (N, 3, H, W)."""
        return self.decoder(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the last three stages put out, on the grid of the first of them."""
        maps = [self.stages[0](self.stem(images))]
        for stage in list(self.stages)[1:]:
            maps.append(stage(maps[-1]))
        shape = maps[1].shape[-2:]
        return torch.cat([functional.interpolate(each, shape, mode='bilinear') for each in maps[1:]], dim=1)


def segmentor() -> Segmentor:
    """The network with random weights."""
    return Segmentor(classifier())


def sample(seed: int) -> tuple[Tensor, Tensor]:
    """A scene's input (3, 192, 192) and its labels (48, 48): 0 for background, else 1 + class."""
    image, mask, label = draw_masked(seed, SIZES[seed % len(SIZES)])
    shown = np.where(mask[..., None], np.uint8(255), np.zeros_like(image))
    inside = preprocess(Image.fromarray(shown))[:1, None] > 0
    cells = functional.avg_pool2d(inside.transpose(0, 1).float(), 4)[0, 0] > 0.5
    return preprocess(Image.fromarray(image)), cells.long() * (1 + label)


def train(count: int, iters: int, seed: int = 0) -> Segmentor:
    """Train the decoder; the network in evaluation mode."""
    torch.manual_seed(seed)
    trunk = classifier()
    trunk.load_state_dict(torch.load(ROOT / 'demo' / 'classifier.pth', weights_only=True)['state_dict'])
    model = Segmentor(trunk).eval()
    model.requires_grad_(False)
    model.decoder.requires_grad_(True)
    inputs, labels = (torch.stack(each) for each in zip(*map(sample, range(count))))
    with torch.no_grad():
        features = torch.cat([model.features(part) for part in inputs.split(BATCH)])
    weights = torch.ones(1 + len(CLASSES))
    weights[0] = 0.3  # most cells are background
    optimizer = torch.optim.AdamW(model.decoder.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iters)
    for number in range(iters):
        chosen = torch.randint(count, (BATCH,))
        loss = functional.cross_entropy(model.decoder(features[chosen]), labels[chosen], weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (number + 1) % 50 == 0:
            print(f'{number + 1}/{iters}: loss {loss.item():.3f}', flush=True)
    return model.requires_grad_(True).eval()


@torch.no_grad()
def evaluate(model: Segmentor, count: int) -> float:
    """The mean over held-out scenes of the object's IoU in the right class."""
    found = []
    for seed in range(HELD_OUT, HELD_OUT + count):
        inputs, labels = sample(seed)
        predicted = model(inputs[None])[0].argmax(dim=0)
        common, either = ((predicted > 0) & (predicted == labels)).sum(), ((predicted > 0) | (labels > 0)).sum()
        found.append(float(common / either.clamp(min=1)))
    return float(np.mean(found))


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path, help='file for the weights')
    parser.add_argument('--count', type=int, default=320, help='scenes to train on')
    parser.add_argument('--iters', type=int, default=400, help=f'iterations of {BATCH} scenes')
    parser.add_argument('--held-out', type=int, default=40, help='scenes to measure on')
    parser.add_argument('--threads', type=int, default=2, help='CPU threads of PyTorch')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    start = time.monotonic()
    model = train(args.count, args.iters)
    torch.save({'state_dict': model.state_dict()}, args.out)
    print(f'{args.out}: {time.monotonic() - start:.0f} s, IoU {evaluate(model, args.held_out):.3f}')


if __name__ == '__main__':
    main()
