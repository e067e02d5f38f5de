"""Measure this project beside what it is compared with, and print medians, ratios and goals.

    python tools/benchmark.py draw              # draw_featmap against MMEngine's, time and memory
    python tools/benchmark.py reducers          # each reducer
    python tools/benchmark.py channels          # 2,048 channels to files, time and memory
    python tools/benchmark.py e2e --device cpu  # one image, file to file, against the bare network and MMYOLO's demo
    python tools/benchmark.py explain           # explanations against pytorch-grad-cam and bare backwards
    python tools/benchmark.py startup           # start to first picture, as processes
    python tools/benchmark.py --json bench.json # all of them

Run it on an idle machine; what is compared takes turns, so that a busy moment meets all alike.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.context import Context
from benchmarks.report import Row, machine, print_tables, write_json
from rich.console import Console

from featmap.models.device import pick_device

BENCHMARKS = ('draw', 'reducers', 'channels', 'e2e', 'explain', 'startup')
_WIDTH = 150  # of tables that go to a file


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('what', nargs='*', metavar='WHAT', help=f'{", ".join(BENCHMARKS)} (default: all)')
    parser.add_argument('--rounds', type=int, default=7, metavar='N', help='turns of each candidate')
    parser.add_argument('--warmup', type=int, default=1, metavar='N', help='unmeasured rounds before')
    parser.add_argument('--device', help='default: cuda:0 where there is one, else cpu')
    parser.add_argument('--amp', action='store_true', help='measure half precision too')
    parser.add_argument('--config', type=Path, help='detector of e2e and startup (default: YOLOv5-s); goes with')
    parser.add_argument('--checkpoint', type=Path, help='its weights (default: made up)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    args = parser.parse_args(argv)
    args.what = args.what or list(BENCHMARKS)
    unknown = sorted(set(args.what) - set(BENCHMARKS))
    if unknown:
        parser.error(f'no benchmark is called {unknown[0]!r}: expected {", ".join(BENCHMARKS)}')
    if min(args.rounds, args.warmup + 1) < 1:
        parser.error('--rounds takes 1 or more, --warmup 0 or more')
    if (args.config is None) != (args.checkpoint is None):
        parser.error('--config and --checkpoint go together')
    return args


def measure(what: Sequence[str], context: Context, console: Console) -> dict[str, list[Row]]:
    """Run the named benchmarks, print each table as soon as it is there, and return all."""
    tables: dict[str, list[Row]] = {}
    for name in what:
        found = import_module(f'benchmarks.{name}').run(context)
        made = found if isinstance(found, dict) else {name: found}
        print_tables(made, console)
        tables.update(made)
    return tables


def main(argv: Sequence[str] | None = None) -> dict[str, list[Row]]:
    """Run the tool; all rows, by table."""
    args = parse_args(argv)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    given: dict[str, Any] = {name: getattr(args, name) for name in ('config', 'checkpoint') if getattr(args, name)}
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(
            Path(scratch), pick_device(args.device), args.rounds, args.warmup, args.amp,
            **{name: path.resolve() for name, path in given.items()},
        )  # fmt: skip
        here = machine()
        console.print(
            f'{here["cores"]} cores, load {here["load"]}, {context.device}, torch {here["packages"].get("torch")}, '
            f'median of {args.rounds} rounds'
        )
        tables = measure(args.what, context, console)
    if args.json:
        settings = {'device': str(context.device), 'rounds': args.rounds, 'warmup': args.warmup, 'amp': args.amp}
        write_json(tables, args.json, settings)
    return tables


if __name__ == '__main__':
    main()
