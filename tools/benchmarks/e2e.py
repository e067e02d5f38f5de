"""One image from file to file, without start-up: this tool, the bare network, and what MMYOLO's demo does."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import torch

from benchmarks.context import Context
from benchmarks.measure import Call, wait_for
from benchmarks.peer import PeerTool
from benchmarks.report import Row
from benchmarks.tool import FeatmapTool

BARE = 'bare forward'
PEER = "MMYOLO's demo loop"
_EARLY = 'backbone.stage2'


def run(context: Context) -> dict[str, list[Row]]:
    """The tables ``e2e`` and ``e2e on CUDA``."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        made = {name: checkpoint_of(context, name) for name in weights_of(context)}
        first = next(iter(made))
        # Before any peer, which sets MMEngine's default scope for good.
        tools = {name: FeatmapTool(context, checkpoint) for name, checkpoint in made.items()}
        early = FeatmapTool(context, made[first], (_EARLY,), boxes=False)
        half = FeatmapTool(context, made[first], amp=True) if context.amp else None
        rows = _rows(context, first, made[first], tools[first], early)
        for name in list(made)[1:]:
            rows.append(_weights_row(context, name, made[name], tools[name]))
        if half is not None:
            rows.append(_amp_row(context, half))
        return {'e2e': rows, 'e2e on CUDA': _cuda_rows(context, tools[first], half)}


def weights_of(context: Context) -> tuple[str, ...]:
    """Names of the weights to measure with, the realistic ones first."""
    return (context.checkpoint.name,) if context.checkpoint else ('trained-like', 'random')


def checkpoint_of(context: Context, name: str) -> Path:
    """The file of these weights, made where it is not given."""
    from benchmarks.weights import save_weights

    return context.checkpoint or save_weights(context, name)


def peer_tool(context: Context, checkpoint: Path) -> tuple[PeerTool | None, str]:
    """The peer, or None and the reason."""
    try:
        return PeerTool(context.config, checkpoint, str(context.device)), ''
    except ImportError as error:
        return None, f'{error.name or error} is not installed'


def _rows(context: Context, name: str, checkpoint: Path, tool: FeatmapTool, early: FeatmapTool) -> list[Row]:
    peer, missing = peer_tool(context, checkpoint)
    out = context.scratch / 'picture'
    calls: dict[str, Call] = {
        BARE: tool.forward,
        'recorded': tool.recorded_forward,
        'jpg': partial(tool, out.with_suffix('.jpg')),
        'png': partial(tool, out.with_suffix('.png')),
        'early': partial(early, out.with_suffix('.jpg')),
    }
    if peer is not None:
        calls['peer jpg'] = partial(peer, context.image(), out.with_suffix('.jpg'))
        calls['peer png'] = partial(peer, context.image(), out.with_suffix('.png'))
    took = {call: seconds * 1000 for call, seconds in context.interleave(calls).items()}
    note = f'{name} weights, {tool.boxes_drawn()} boxes drawn'
    return [
        _of_forward('whole tool to .jpg', took['jpg'], took[BARE], 'at most 1.25 of it', note),
        Row('whole tool to .jpg', took['jpg'], took.get('peer jpg'), PEER, 'at least 8x', note=missing or note),
        Row('whole tool to .png', took['png'], took.get('peer png'), PEER, note=missing or note),
        _of_forward(f'{_EARLY}, no boxes, to .jpg', took['early'], took[BARE], 'under 0.5 of it', 'stops early'),
        _of_forward('forward with recording and reducing', took['recorded'], took[BARE], '', 'neck, select_max'),
    ]


def _weights_row(context: Context, name: str, checkpoint: Path, tool: FeatmapTool) -> Row:
    """The comparison with the peer once more, with other weights."""
    peer, missing = peer_tool(context, checkpoint)
    out = context.scratch / 'picture.jpg'
    calls: dict[str, Call] = {'jpg': partial(tool, out)}
    if peer is not None:
        calls['peer jpg'] = partial(peer, context.image(), out)
    took = {call: seconds * 1000 for call, seconds in context.interleave(calls).items()}
    note = missing or f'{name} weights, {tool.boxes_drawn()} boxes drawn'
    return Row('whole tool to .jpg', took['jpg'], took.get('peer jpg'), PEER, 'at least 8x', note=note)


def _amp_row(context: Context, tool: FeatmapTool) -> Row:
    took = context.interleave({BARE: tool.forward, 'jpg': partial(tool, context.scratch / 'picture.jpg')})
    return _of_forward('whole tool to .jpg, --amp', took['jpg'] * 1000, took[BARE] * 1000, '', 'both in half precision')


def _of_forward(name: str, featmap: float, bare: float, goal: str, note: str) -> Row:
    return Row(name, featmap, bare, BARE, goal, ratio_of='featmap/peer', note=note)


def _cuda_rows(context: Context, full: FeatmapTool, half: FeatmapTool | None) -> list[Row]:
    """Images a second, overhead of recording, and peak memory on the card, in each precision."""
    if not torch.cuda.is_available():
        return [Row('on CUDA', None, note='no CUDA device here')]
    if context.device.type != 'cuda':
        return [Row('on CUDA', None, note=f'not run: the device is {context.device}')]
    rows = []
    for precision, tool in (('fp32', full), ('amp', half)):
        if tool is None:
            continue
        whole = partial(tool, context.scratch / 'picture.jpg')
        took = context.interleave({'whole': whole, 'recorded': tool.recorded_forward, BARE: tool.forward})
        rows += [
            _of_forward(
                f'forward with recording and reducing, {precision}', took['recorded'] * 1000, took[BARE] * 1000,
                'at most 1.05 of it', 'neck, select_max',
            ),
            Row(
                f'images a second, {precision}', 1 / took['whole'], 1 / took[BARE], BARE, unit='/s',
                ratio_of='featmap/peer', note='one after another, file to .jpg file',
            ),
            Row(
                f'peak memory on the card, {precision}', _peak(whole, context.device),
                _peak(tool.forward, context.device), BARE, unit='MB', ratio_of='featmap/peer', note='above the weights',
            ),
        ]  # fmt: skip
    return rows


def _peak(call: Call, device: torch.device) -> float:
    """Megabytes that a call takes on the card at most, above what PyTorch holds there before."""
    wait_for(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    wait_for(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6
