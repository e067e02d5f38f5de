"""What can be chosen for a run: one table that the command line, a config's ``featmap`` dict and Python share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from featmap.errors import OptionError, nearest
from featmap.norm import parse_norm


@dataclass(frozen=True)
class Settings:
    """Options of a run, checked.

    Attributes:
        target_layers: Layer names.
        channel_reduction: A reducer's name, a ``dict(type=...)``, a list of them to apply in turn, or None for
            channels as they are.
        topk: With ``channel_reduction`` None, how many channels; -1 draws a 1- or 3-channel map as it is.
        channels: Numbers, or ``all``; chooses the reducer ``channels`` where none is given along with it.
        abs: Whether ``topk`` and ``select_max`` rank by magnitudes, so that negative answers count.
        components: How many planes or groups ``pca``, ``nmf`` and ``kmeans`` make; None for their own default.
        basis: A file with a basis of ``pca`` to use; None to fit one.
        arrangement: Rows and columns for the channels of a map; None for near-square.
        alpha: Opacity of the heat, 0 to 1.
        colormap: An OpenCV or matplotlib colour map; None for jet, or coolwarm where ``symmetric``.
        norm: What the ends of the colour scale stand for: ``map`` (the plane's own range), ``layer``, ``run``,
            ``LO,HI`` or ``pLO,pHI``.
        symmetric: Whether scales are centred on 0.
        colorbar: Whether each panel has a colour bar.
        score_thr: Detections from this score up are drawn.
        amp: Whether to run the network in half precision (autocast).
        boxes: Whether to ask for detections and draw them.
        labels: Whether panels have label strips.
        vis_backends: MMEngine vis backends to write to: names or ``dict(type=...)``.
        visualizer: ``dict(type='FeatMapVisualizer', ...)``, for a visualizer of your own or its further arguments.
    """

    target_layers: tuple[str, ...] = ('backbone',)
    channel_reduction: str | dict[str, Any] | list[Any] | None = 'select_max'
    topk: int = 4
    channels: tuple[int, ...] | str | None = None
    abs: bool = False
    components: int | None = None
    basis: str | None = None
    arrangement: tuple[int, int] | None = None
    alpha: float = 0.5
    colormap: str | None = None
    norm: str = 'map'
    symmetric: bool = False
    colorbar: bool = False
    score_thr: float = 0.3
    amp: bool = False
    boxes: bool = True
    labels: bool = True
    vis_backends: tuple[str | dict[str, Any], ...] = ()
    visualizer: dict[str, Any] = field(default_factory=lambda: {'type': 'FeatMapVisualizer'})

    def __post_init__(self) -> None:
        if not self.target_layers or not all(isinstance(n, str) and n for n in self.target_layers):
            raise OptionError(f'target_layers={self.target_layers!r}: expected at least one layer name, such as neck')
        if self.topk == 0 or self.topk < -1:
            raise OptionError(
                f'topk={self.topk}: expected how many channels to draw (1 or more), or -1 to draw a map of 1 or 3 '
                'channels as it is'
            )
        if self.arrangement is not None:
            rows, columns = self.arrangement
            if self.channel_reduction is None and rows * columns < self.topk:
                raise OptionError(
                    f'an arrangement of {rows} x {columns} has {rows * columns} places for topk={self.topk}: give '
                    'more rows or columns, or a smaller topk'
                )
        parse_norm(self.norm, self.symmetric)
        if self.components is not None and self.components < 1:
            raise OptionError(f'components={self.components}: expected 1 or more')
        for name in ('alpha', 'score_thr'):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise OptionError(f'{name}={value}: expected a number from 0 to 1')


NAMES = tuple(item.name for item in fields(Settings))


def merge(*layers: Mapping[str, Any]) -> Settings:
    """Settings from several mappings, later ones winning; values are put into their types.

    Raises:
        OptionError: for a name that is no option, or a value that cannot be one.
    """
    given: dict[str, Any] = {}
    for layer in layers:
        if layer.get('channels') is not None and 'channel_reduction' not in layer:
            given['channel_reduction'] = 'channels'
        for name, value in layer.items():
            if name not in NAMES:
                raise OptionError(
                    f'featmap knows no option {name!r}; nearest: {", ".join(nearest(name, NAMES))}; all: '
                    f'{", ".join(NAMES)}'
                )
            given[name] = _typed(name, value)
    return Settings(**given)


_COMPANIONS = {
    'topk': (None, 'topk'),
    'abs': (None, 'topk', 'select_max'),
    'channels': ('channels',),
    'components': ('pca', 'nmf', 'kmeans'),
    'basis': ('pca',),
}
"""Options that only some reducers read, and those reducers."""


def check_companions(given: Mapping[str, Any], reduction: Any) -> None:
    """Refuse options that the chosen reducer would silently ignore; None and False ask for nothing.

    Raises:
        OptionError: for the first of them, with the reducers that it goes with.
    """
    chosen = _types(reduction)
    for name, reducers in _COMPANIONS.items():
        if given.get(name) not in (None, False) and not any(kind in reducers for kind in chosen):
            wanted = ' or '.join(map(str, reducers))
            raise OptionError(f'--{name} goes with --channel-reduction {wanted}, got {", ".join(map(str, chosen))}')


def _types(reduction: Any) -> list[Any]:
    """The names of all reducers that a ``channel_reduction`` holds."""
    if isinstance(reduction, (list, tuple)):
        return [kind for step in reduction for kind in _types(step)]
    kind = reduction.get('type') if isinstance(reduction, Mapping) else reduction
    return [kind.removeprefix('featmap.') if isinstance(kind, str) else kind]


def parse_arrangement(value: Any) -> tuple[int, int] | None:
    """Rows and columns from ``(2, 3)``, ``['2', '3']``, ``'2x3'``, ``'2 3'`` or ``'(2,3)'``.

    Raises:
        OptionError: for anything else.
    """
    if value is None:
        return None
    parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    text = ' '.join(str(part) for part in parts)
    numbers = re.fullmatch(r'\s*[(\[]?\s*(\d+)\s*[x×,\s]\s*(\d+)\s*[)\]]?\s*', text)
    if not numbers or '0' in (numbers[1].strip('0') or '0', numbers[2].strip('0') or '0'):
        raise OptionError(f'arrangement={text!r}: expected rows and columns, such as 2 3 or 2x3, each 1 or more')
    return int(numbers[1]), int(numbers[2])


def parse_channels(value: Any) -> tuple[int, ...] | str | None:
    """Channel numbers from ``all``, ``[3, 17]``, ``'3 17 40-47'`` or ``['3', '17', '40-47']``, in the order given.

    Raises:
        OptionError: for anything else.
    """
    if value is None or value in ('all', ['all'], ('all',)):
        return value if value is None else 'all'
    parts = value if isinstance(value, (list, tuple)) else str(value).replace(',', ' ').split()
    numbers: list[int] = []
    for part in parts:
        found = re.fullmatch(r'(\d+)(?:-(\d+))?', str(part))
        if not found or (found[2] and int(found[2]) < int(found[1])):
            raise OptionError(f'channels={value!r}: expected numbers and ranges, such as 3 17 40-47, or all')
        numbers.extend(range(int(found[1]), int(found[2] or found[1]) + 1))
    if not numbers:
        raise OptionError(f'channels={value!r}: expected at least one channel')
    return tuple(dict.fromkeys(numbers))


def parse_reduction(value: Any) -> Any:
    """A reducer's name; the word None, in any case, stands for no reduction."""
    return None if isinstance(value, str) and value.lower() == 'none' else value


def _typed(name: str, value: Any) -> Any:
    try:
        if name == 'target_layers':
            return (value,) if isinstance(value, str) else tuple(value)
        if name == 'vis_backends':
            return (value,) if isinstance(value, (str, dict)) else tuple(value or ())
        if name == 'arrangement':
            return parse_arrangement(value)
        if name == 'channel_reduction':
            return _instance(
                parse_reduction(value), (str, dict, list, tuple, type(None)), 'a name, a dict, a list of them or None'
            )
        if name == 'colormap':
            return _instance(value, (str, type(None)), 'a name')
        if name == 'norm':
            return _instance(','.join(map(str, value)) if isinstance(value, (list, tuple)) else value, str, 'a rule')
        if name == 'channels':
            return parse_channels(value)
        if name == 'basis':
            return value if value is None else str(value)
        if name == 'components':
            return value if value is None else _whole(value)
        if name == 'topk':
            return _whole(value)
        if name in ('alpha', 'score_thr'):
            return float(value)
        if name in ('boxes', 'labels', 'symmetric', 'colorbar', 'abs', 'amp'):
            return _instance(value, bool, 'True or False')
        if name == 'visualizer':
            return {'type': 'FeatMapVisualizer', **value}
    except OptionError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise OptionError(f'{name}={value!r}: {error}') from error
    return value


def _whole(value: Any) -> int:
    if int(value) != value:
        raise ValueError('not a whole number')
    return int(value)


def _instance(value: Any, kinds: Any, expected: str) -> Any:
    if not isinstance(value, kinds):
        raise ValueError(f'expected {expected}')
    return value
