"""The command line, built from the table of options."""

from __future__ import annotations

import argparse
import difflib
from typing import Any, NoReturn

from featmap.escaping import escape
from featmap.options.declare import Option
from featmap.options.run import GROUPS, OPTIONS
from featmap.version import __version__

_ORDER = (
    'the order is IMG... CONFIG CHECKPOINT [options], and an option that takes several values (--target-layers) takes '
    'all that follow it, up to the next option or --'
)


class Parser(argparse.ArgumentParser):
    """One line for an error, with what to do about it."""

    def error(self, message: str) -> NoReturn:
        if 'required: ' in message:
            message += f'; {_ORDER}'
        elif 'argument --norm: expected' in message:
            message += '; a negative lower end takes an equals sign: --norm=-1,1'
        elif message.startswith('unrecognized arguments: '):
            message += self._meant(message.removeprefix('unrecognized arguments: ').split())
        self.exit(2, f'{self.prog}: error: {escape(message)}; --help lists all options\n')

    def _meant(self, words: list[str]) -> str:
        flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith('--')]
        for word in words:
            name = word.partition('=')[0]
            if name.startswith('--'):
                meant = difflib.get_close_matches(name.replace('_', '-'), flags, n=1, cutoff=0.6)
                return f'; did you mean {meant[0]}?' if meant else ''
        return f'; {_ORDER}'


def build_parser() -> Parser:
    """The parser of the main command. What was not given is not in its result; values are texts still."""
    parser = Parser(
        prog='featmap',
        usage='%(prog)s IMG [IMG ...] CONFIG CHECKPOINT [options]',
        description='Draw what the layers of a PyTorch vision model respond to, over the image, in the right place.',
        epilog='Examples: %(prog)s dog.jpg timm:resnet50 pretrained; %(prog)s dog.jpg net.py:factory weights.pth '
        '--input-size 224; %(prog)s demo/demo.jpg configs/demo/yolov5_n_demo.py demo/yolov5_n_demo.pth '
        '--target-layers neck --channel-reduction squeeze_mean',
        argument_default=argparse.SUPPRESS,
    )
    for group, holder in GROUPS.items():
        options = [item for item in OPTIONS.values() if item.group == group and 'command' in item.places]
        place = parser.add_argument_group(str(holder.__doc__).partition('\n')[0].rstrip('.').lower())
        for item in options:
            place.add_argument(*_names(item), **_settings(item))
    parser.add_argument('--version', action='version', version=f'featmap {__version__}')
    return parser


def _names(item: Option) -> list[str]:
    return [item.name] if item.positional else [item.flag]


def _settings(item: Option) -> dict[str, Any]:
    text = item.help + (f' (default: {item.usual})' if item.usual else '')
    said: dict[str, Any] = {'help': text.replace('`', '').replace('%', '%%')}
    if not item.positional:
        said['dest'] = item.name
    if isinstance(item.default, bool):
        return {**said, 'action': 'store_false' if item.default else 'store_true'}
    words = tuple(item.kind.metavar.split())
    return {**said, **({'nargs': '+'} if item.kind.many else {}), 'metavar': words if len(words) > 1 else words[0]}
