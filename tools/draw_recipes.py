#!/usr/bin/env python3
"""Draw the pictures of docs/recipes: run each recipe's own commands, and make the pictures that it shows smaller."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

from PIL import Image

from featmap.cli import main as featmap

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / 'docs' / 'recipes'
WIDTH, MOST_BYTES = 1600, 250_000
_CALL = re.compile(r'^\$ featmap (.*)$', re.MULTILINE)
_PICTURE = re.compile(r'\]\(\.\./images/recipes/(\w+)\.jpg\)')


def save_small(source: Path, target: Path) -> None:
    """A picture of at most ``WIDTH`` pixels as a JPEG of at most ``MOST_BYTES``."""
    picture = Image.open(source).convert('RGB')
    if picture.width > WIDTH:
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    for quality in range(92, 40, -4):
        picture.save(target, quality=quality, optimize=True)
        if target.stat().st_size <= MOST_BYTES:
            return
    raise SystemExit(f'{target.name} is {target.stat().st_size} bytes at the least: draw less')


def draw(recipe: Path, folder: Path) -> list[Path]:
    """Run a recipe's commands and write the pictures that it shows into a folder."""
    text = recipe.read_text(encoding='utf-8')
    wanted = _PICTURE.findall(text)
    written = []
    with tempfile.TemporaryDirectory() as workplace:
        for name in ('demo', 'configs'):
            (Path(workplace) / name).symlink_to(ROOT / name)
        os.chdir(workplace)
        for call in _CALL.findall(text):
            words = shlex.split(call)
            shown = '--out-file' in words and Path(words[words.index('--out-file') + 1]).stem
            if shown in wanted and featmap(words):
                raise SystemExit(f'{recipe.name}: {call} failed')
        for name in wanted:
            save_small(Path(workplace) / f'{name}.png', folder / f'{name}.jpg')
            written.append(folder / f'{name}.jpg')
        os.chdir(ROOT)
    return written


def main(argv: list[str] | None = None) -> int:
    """Draw every recipe's pictures, or those of the recipes that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('recipe', nargs='*', help='names of recipes; all by default')
    parser.add_argument('--out-dir', type=Path, default=ROOT / 'docs' / 'images' / 'recipes')
    args = parser.parse_args(argv)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    for recipe in sorted(RECIPES.glob('*.md')):
        if not args.recipe or recipe.stem in args.recipe:
            for path in draw(recipe, args.out_dir.resolve()):
                print(path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
