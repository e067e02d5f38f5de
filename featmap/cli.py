"""The command line: arguments only. Nothing heavy is imported before they are parsed."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from featmap.errors import FeatMapError, first_line
from featmap.escaping import escape
from featmap.options import Run
from featmap.options.parser import build_parser
from featmap.targets.asked_for import refuse_slips
from featmap.wording import command_line


def parse_args(argv: Sequence[str] | None = None, prog: str | None = None) -> Run:
    """The run that the arguments ask for, checked as far as that is possible without a config and a model.

    Raises:
        OptionError: for a value or a combination that makes no sense.
    """
    parser = build_parser()
    if prog:
        parser.prog = prog
    # Intermixed: several images may stand before options, and CONFIG after them.
    run = Run.of(vars(parser.parse_intermixed_args(argv)), 'command').check(config=False)
    refuse_slips(run)
    return run


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command and return its exit status.

    0: all drawn; 1: some images of several failed, or some layers put out no map; 2: nothing could be done;
    130: interrupted; 143: terminated.
    """
    debug = '--debug' in (sys.argv if argv is None else argv)
    own_process = argv is None
    if own_process:
        # What is imported stays: looking for garbage among it takes a third of the time to the first picture.
        gc.disable()
        signal.signal(signal.SIGTERM, _terminate)
    try:
        with command_line(), warnings.catch_warnings():
            run = parse_args(argv, prog)
            from featmap.command import draw

            return draw(run, _collect_again if own_process else None)
    except KeyboardInterrupt as stop:
        status, word = (143, 'terminated') if isinstance(stop, _Terminated) else (130, 'interrupted')
        print(f'\nfeatmap: {word}; finished pictures are kept', file=sys.stderr)
        return status
    except FeatMapError as error:
        if debug:
            raise
        print(f'featmap: error: {escape(error)}', file=sys.stderr)
    except Exception as error:
        if debug:
            raise
        print(
            f'featmap: unexpected {type(error).__name__}: {escape(first_line(error))}; --debug shows where',
            file=sys.stderr,
        )
    return 2


class _Terminated(KeyboardInterrupt):
    """SIGTERM: ends the command as Ctrl-C does, temporaries removed."""


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _collect_again() -> None:
    gc.freeze()
    gc.enable()
    if 'triton' in sys.modules:
        # Its bindings look at exit for what is left, and tell of 600 things that are only frozen.
        atexit.register(gc.unfreeze)


if __name__ == '__main__':
    sys.exit(main())
