"""Measure how faithful explanations are: methods × layers over a set of images, as tables with 95 % intervals.

    python tools/evaluate_explanations.py --maps layercam@backbone.stage2 gradcam@neck drise   # the shipped detector
    python tools/evaluate_explanations.py --set singles                                        # the shipped classifier
    python tools/evaluate_explanations.py --set small FILE.py:FACTORY WEIGHTS --preprocess preprocess  # a segmentation
    python tools/evaluate_explanations.py CONFIG CHECKPOINT --ann-file instances.json --images FOLDER
    python tools/evaluate_explanations.py --table --write docs/explanations.md --name detector # from what is measured

Images are held-out scenes of the demo, or those of a COCO file. What is measured is appended to ``--out`` image by
image: a rerun goes on where one ended, and takes in maps or targets that were not asked for before.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from explanation_tables.maps import MapSpec
from explanation_tables.measuring import Measurer
from explanation_tables.pictures import Picture, coco, medium, scenes, singles, small
from explanation_tables.records import Records, read_records
from explanation_tables.regions import Regions
from explanation_tables.tables import insert, markdown

from featmap.errors import FeatMapError
from featmap.faithfulness import AREAS, BASELINES, CONTROLS, Protocol
from featmap.models.protocol import AnyModel
from featmap.models.source import find_source
from featmap.options import Run
from featmap.targets import parse_target

ROOT = Path(__file__).resolve().parents[1]
DEMO: dict[str, tuple[str, str, dict[str, Any]]] = {
    'scenes': ('configs/demo/yolov5_n_demo.py', 'demo/yolov5_n_demo.pth', {}),
    'singles': ('demo/classifier.py:classifier', 'demo/classifier.pth', {'preprocess': 'preprocess'}),
}
"""For a set of scenes the shipped model, its weights and further options."""
SETS = {
    'scenes': (scenes, 'boxes'),
    'medium': (medium, 'boxes'),
    'singles': (singles, 'top'),
    'small': (small, 'regions'),
}
"""The sets of scenes, and what is explained in them."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=__doc__.split('\n', 2)[2],
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument('config', nargs='?', help='model, as featmap takes it (default: the shipped one for the set)')
    parser.add_argument('checkpoint', nargs='?', help='its weights')
    parser.add_argument('--preprocess', help='as featmap takes it')
    what = parser.add_argument_group('what is measured')
    what.add_argument(
        '--maps', nargs='+', default=[], metavar='MAP', help='METHOD, METHOD@LAYER or METHOD@LAYER,LAYER:FUSION'
    )
    what.add_argument('--methods', nargs='+', default=[], help='further maps: each of these methods …')
    what.add_argument('--layers', nargs='+', default=[], help='… on each of these LAYER or LAYER,LAYER:FUSION')
    what.add_argument('--controls', nargs='*', default=list(CONTROLS), choices=CONTROLS, help='what knows no model')
    what.add_argument('--explain', help='targets (default: boxes; of one-object scenes top, of small ones regions)')
    what.add_argument('--score-thr', type=float, default=0.3, help='detections from here up')
    what.add_argument('--arguments', type=json.loads, default={}, metavar='JSON', help='\'{"drise": {"masks": 2000}}\'')
    images = parser.add_argument_group('images')
    images.add_argument('--set', choices=list(SETS), default='scenes', help='held-out scenes of the demo')
    images.add_argument('--ann-file', type=Path, help='a COCO file whose images are taken instead')
    images.add_argument('--images', type=Path, help='where these are (default: beside it)')
    images.add_argument('--count', type=int, default=100, help='how many')
    images.add_argument('--first-seed', type=int, default=1_000_000, help='seed of the first scene')
    how = parser.add_argument_group('insertion and deletion')
    how.add_argument('--areas', choices=AREAS, default='octaves')
    how.add_argument('--steps', type=int, default=50, help='of equal areas')
    how.add_argument('--baselines', nargs='+', choices=BASELINES, default=['blur'])
    how.add_argument('--curves', type=int, metavar='N', help='of N targets an image, drawn by lot (default: all)')
    how.add_argument('--seed', type=int, default=0)
    how.add_argument('--half', action='store_true', help='ask about perturbed images in half precision')
    how.add_argument('--batch-size', type=int)
    how.add_argument('--device')
    how.add_argument('--threads', type=int, default=2, help='CPU threads of PyTorch')
    results = parser.add_argument_group('results')
    results.add_argument('--out', type=Path, default=Path('explanations.jsonl'), help='records, appended')
    results.add_argument('--also', type=Path, nargs='+', default=[], help='further records of the same kind')
    results.add_argument('--table', action='store_true', help='measure nothing, make the table of --out')
    results.add_argument(
        '--write', type=Path, metavar='PAGE', help='put the table between its marks in a Markdown page'
    )
    results.add_argument('--name', default='detector', help='of these marks')
    args = parser.parse_args(argv)
    if args.images is not None and args.ann_file is None:
        parser.error('--images goes with --ann-file')
    if args.config is None and args.set not in DEMO:
        parser.error(f'--set {args.set} needs a model, such as tools/train_explained_detectors.py makes')
    if not args.table and not (args.maps or args.methods):
        parser.error('nothing to measure: --maps, or --methods and --layers')
    return args


def specs(args: argparse.Namespace) -> list[MapSpec]:
    """The maps that are asked for, each once."""
    products = [f'{method}@{layer}' for method, layer in itertools.product(args.methods, args.layers)]
    alone = [] if args.layers else args.methods
    return [MapSpec.parse(text) for text in dict.fromkeys([*args.maps, *products, *alone, *args.controls])]


def open_model(args: argparse.Namespace, half: bool) -> AnyModel:
    """The model, as featmap opens it."""
    config, checkpoint = args.config, args.checkpoint
    options: dict[str, Any] = {}
    if config is None:
        shipped, weights, options = DEMO[args.set]
        config, checkpoint = str(ROOT / shipped), str(ROOT / weights)
    given: dict[str, Any] = {'score_thr': args.score_thr, 'amp': half, **options}
    if args.preprocess:
        given['preprocess'] = args.preprocess
    if args.device:
        given['device'] = args.device
    run = Run.of(given).check(config=False)
    source = find_source(config, checkpoint, None, {})
    run = run.above(source.options).check()
    source.check(run)
    return source.open(run)


def pictures(args: argparse.Namespace) -> Iterator[Picture]:
    """The images that are asked for."""
    if args.ann_file is not None:
        return coco(args.ann_file, args.images or args.ann_file.parent, args.count)
    return SETS[args.set][0](args.count, args.first_seed)


def measure(args: argparse.Namespace) -> None:
    """Measure what is not in the records yet."""
    protocol = Protocol(args.areas, args.steps, tuple(args.baselines), args.seed)
    network = open_model(args, half=False)
    asked = open_model(args, half=True) if args.half else network
    explain = args.explain or (SETS[args.set][1] if args.ann_file is None else 'boxes')
    provenance = network.provenance
    head = {
        'protocol': protocol.name,
        'seed': args.seed,
        'explain': explain,
        'score_thr': args.score_thr,
        'model': Path(str(provenance.get('config'))).name,
        'checkpoint_sha256': provenance.get('checkpoint_sha256'),
        'half': args.half,
    }
    records = Records(args.out, head)
    measurer = Measurer(
        network,
        asked,
        parse_target(explain),
        specs(args),
        protocol,
        args.curves,
        args.batch_size,
        args.seed,
        args.arguments,
    )
    start = time.monotonic()
    for number, picture in enumerate(pictures(args), 1):
        new = measurer(picture, records)
        if new:
            records.add(new)
            print(f'{number}: {picture.name}, {len(new)} records, {time.monotonic() - start:.0f} s', flush=True)


def table(args: argparse.Namespace) -> str:
    """The table of what is in the records, under its protocol."""
    head = next((head for path in (args.out, *args.also) if (head := read_records(path)[0])), None)
    if head is None:
        raise FeatMapError(f'{str(args.out)!r} holds no records')
    records = Records(args.out, head)
    for path in args.also:
        records.take(Records(path, head))
    made = markdown(records, order=CONTROLS)
    if head['explain'] == Regions.__name__.lower():
        made = re.sub(r'\bbox\b', 'region', made)  # which stands in the place of a box
    if all(record.gap is None for record in records):
        return made
    precision = ', perturbed images in half precision' if head['half'] else ''
    return f'Protocol: {head["protocol"]}{precision}.\n\n{made}'


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        if not args.table:
            measure(args)
        made = table(args)
        if args.write:
            insert(args.write, args.name, made)
    except FeatMapError as error:
        sys.exit(f'error: {error}')
    print(made)


if __name__ == '__main__':
    main()
