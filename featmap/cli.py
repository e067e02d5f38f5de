"""The command line: arguments only. Nothing heavy is imported before they are parsed."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from featmap.errors import FeatMapError, OptionError, first_line
from featmap.escaping import escape
from featmap.settings import check_companions, merge, parse_arrangement, parse_reduction
from featmap.version import __version__


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if 'required: ' in message:
            message += (
                '; the order is IMG CONFIG CHECKPOINT [options], and an option that takes several values '
                '(--target-layers) takes all that follow it'
            )
        elif 'argument --norm: expected' in message:
            message += '; a negative lower end takes an equals sign: --norm=-1,1'
        self.exit(2, f'{self.prog}: error: {escape(message)}; --help lists all options\n')


def build_parser() -> argparse.ArgumentParser:
    """The parser of the main command. What was not given is not in its result."""
    parser = _Parser(
        prog='featmap',
        description="Draw what a detector's layers respond to, over the image, in the right place.",
        epilog='Example: %(prog)s demo/demo.jpg configs/demo/yolov5_n_demo.py demo/yolov5_n_demo.pth '
        '--target-layers neck --channel-reduction squeeze_mean',
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add('image', metavar='IMG', help='a file, a folder (recursive), a glob, or an http(s) URL')
    add(
        'config',
        metavar='CONFIG',
        help="a path, a scoped name (mmyolo::yolov5/…, mmdet::…) or a packaged config's name",
    )
    add('checkpoint', metavar='CHECKPOINT', help='a path or URL; "none" for random weights')
    _what_to_draw(parser.add_argument_group('what to draw'))
    _how_it_looks(parser.add_argument_group('how it looks'))
    _where_it_goes(parser.add_argument_group('where it goes'))
    model = parser.add_argument_group('the model')
    model.add_argument(
        '--device', metavar='D', help='such as cpu or cuda:1 (default: cuda:0 where there is one, else cpu)'
    )
    model.add_argument('--amp', action='store_true', help='run the network in half precision; statistics are float32')
    model.add_argument(
        '--cfg-options', nargs='+', metavar='K=V', help='override the config: model.test_cfg.score_thr=0.1'
    )
    model.add_argument(
        '--trust-checkpoint', action='store_true',
        help='load a checkpoint that could run code; only for files from a source that you trust',
    )  # fmt: skip
    add('--debug', action='store_true', help='show warnings, and the traceback of an error')
    add('--version', action='version', version=f'featmap {__version__}')
    return parser


def _what_to_draw(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add('--target-layers', nargs='+', metavar='L',
        help='layers, such as neck, backbone.stage4, neck.out_layers[2], backbone.stage*; neck[0] takes one output '
        '(default: backbone)')  # fmt: skip
    add('--channel-reduction', type=parse_reduction, metavar='R',
        help='squeeze_mean, select_max, pixel_max, mean_abs, l2, std, pca, eigen, nmf, kmeans, a reducer of your own, '
        'or None for channels as they are (default: select_max)')  # fmt: skip
    add('--topk', type=int, metavar='N',
        help='with --channel-reduction None: the N most active channels; -1 draws 1- or 3-channel maps as they are '
        '(default: 4)')  # fmt: skip
    add('--abs', action='store_true', help='rank channels by magnitude, so that negative answers count')
    add('--channels', nargs='+', metavar='C', help='these channels: 3 17 40-47, or all')
    add('--components', type=int, metavar='K', help='how many planes or groups pca, nmf and kmeans make')
    add('--basis', metavar='F', help='use the basis of pca in this file; --save-basis writes one')
    add('--arrangement', nargs='+', metavar='R C', help='rows and columns of the channels (default: near-square)')
    add('--score-thr', type=float, metavar='S', help='draw detections from this score up (default: 0.3)')
    add('--no-boxes', dest='boxes', action='store_false', help='no detections; the forward stops early')


def _how_it_looks(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add('--norm', metavar='N',
        help='what the colours span: map (own range), layer or run (shared), LO,HI, or percentiles pLO,pHI '
        '(default: map)')  # fmt: skip
    add('--symmetric', action='store_true', help='centre the colours on 0 (default colour map: coolwarm)')
    add('--colorbar', action='store_true', help='a colour bar below each panel')
    add('--alpha', type=float, metavar='A', help='opacity of the heat, 0 to 1 (default: 0.5)')
    add('--colormap', metavar='NAME', help='an OpenCV or matplotlib colour map (default: jet)')
    add('--no-labels', dest='labels', action='store_false', help='no label strips above the panels')


def _where_it_goes(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add('--out-file', metavar='F', help='the one picture, exactly there; .png where it has no suffix')
    add('--out-dir', metavar='D', help='folder for several pictures, structure mirrored (default: output)')
    add('--show', action='store_true', help='show each picture in a window')
    add('--figure', metavar='F', help='also a figure for a paper: .pdf, .svg or .png')
    add('--dpi', type=int, metavar='N', help='resolution of the figure (default: 200)')
    add('--figure-width', type=float, metavar='IN', help='width of the figure in inches (default: 7)')
    add('--save-maps', metavar='F', help='also the reduced maps: .npz or .safetensors, and a .json beside it')
    add('--save-features', metavar='F', help='also the full features, in the same form')
    add('--save-basis', metavar='F', help='also the basis of pca')
    add('--vis-backends', nargs='+', metavar='B', help='MMEngine vis backends, such as TensorboardVisBackend')
    add('--preview-model', action='store_true', help='print the layer tree, measured on the image, and stop')


def parse_args(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """The arguments that were given, checked as far as that is possible without a model.

    Raises:
        OptionError: for a value or a combination that makes no sense.
    """
    parser = build_parser()
    if prog:
        parser.prog = prog
    given = vars(parser.parse_args(argv))
    given.setdefault('debug', False)
    if 'arrangement' in given:
        given['arrangement'] = parse_arrangement(given['arrangement'])
    options = {name: value for name, value in given.items() if name in OPTIONS}
    if 'channels' in options:
        options.setdefault('channel_reduction', 'channels')
    _check_figure_options(given)
    merge(options)
    if 'channel_reduction' in options:  # else the config may choose it
        if 'save_basis' in given and options['channel_reduction'] != 'pca':
            raise OptionError(f'--save-basis goes with --channel-reduction pca, got {options["channel_reduction"]}')
        check_companions(options, options['channel_reduction'])
    given['options'] = options
    return given


def _check_figure_options(given: dict[str, Any]) -> None:
    for name in ('dpi', 'figure_width'):
        if name in given and 'figure' not in given:
            raise OptionError(f'--{name.replace("_", "-")} is for a figure: add --figure F.pdf')


OPTIONS = frozenset(
    {'target_layers', 'channel_reduction', 'topk', 'abs', 'channels', 'components', 'basis', 'arrangement', 'norm',
     'symmetric', 'colorbar', 'alpha', 'colormap', 'score_thr', 'boxes', 'labels', 'vis_backends', 'amp'}
)  # fmt: skip
"""Arguments that are settings of a run and may also stand in a config's ``featmap`` dict."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command and return its exit status.

    0: all drawn; 1: some images of several failed; 2: nothing could be done; 130: interrupted.
    """
    debug = '--debug' in (sys.argv if argv is None else argv)
    own_process = argv is None
    if own_process:
        # What is imported stays: looking for garbage among it takes a third of the time to the first picture.
        gc.disable()
    try:
        given = parse_args(argv, prog)
        from featmap.command import run

        return run(given, _collect_again if own_process else None)
    except KeyboardInterrupt:
        print('\nfeatmap: interrupted; finished pictures are kept', file=sys.stderr)
        return 130
    except FeatMapError as error:
        if debug:
            raise
        print(f'featmap: error: {escape(error)}', file=sys.stderr)
    except Exception as error:
        if debug:
            raise
        kind, text = type(error).__name__, escape(first_line(error))
        print(f'featmap: unexpected {kind}: {text}; --debug shows where', file=sys.stderr)
    return 2


def _collect_again() -> None:
    gc.freeze()
    gc.enable()


if __name__ == '__main__':
    sys.exit(main())
