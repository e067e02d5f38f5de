"""From start to the first picture, as whole processes that take turns."""

from __future__ import annotations

import warnings
from functools import partial

from benchmarks import peer
from benchmarks.context import ROOT, Context
from benchmarks.e2e import PEER, checkpoint_of, weights_of
from benchmarks.measure import Call, process
from benchmarks.report import Row
from benchmarks.tool import FeatmapTool

_COMMAND = ROOT / 'demo' / 'featmap_vis_demo.py'
_IMPORTS = (
    'from featmap.models.openmmlab.mmcv_ops import ensure_ops; ensure_ops(); '
    'import torch, mmyolo.models, mmdet.datasets.transforms'
)


def run(context: Context) -> list[Row]:
    """The command against the imports that it cannot do without, and against the demo-like loop."""
    name = weights_of(context)[0]
    checkpoint = checkpoint_of(context, name)
    image, out = context.image(), context.scratch / 'first.jpg'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        tool = FeatmapTool(context, checkpoint)
        one = context.interleave({'image': partial(tool, out)})['image']
    where = ('--target-layers', 'neck', '--channel-reduction', 'select_max', '--device', context.device)
    calls: dict[str, Call] = {
        'featmap': process(_COMMAND, image, context.config, checkpoint, *where, '--out-file', out),
        'imports': process('-c', _IMPORTS),
        'peer': process(peer.SCRIPT, image, context.config, checkpoint, out, context.device),
    }
    missing = _absent(calls)
    took = context.interleave(calls)
    floor = took['imports'] + one
    return [
        Row(
            'start to first picture', took['featmap'], floor, 'bare imports and one image', 'at most 1.1 of it', 's',
            'featmap/peer', f'imports {took["imports"]:.2f} s, one image {one:.3f} s, {name} weights',
        ),
        Row('start to first picture', took['featmap'], took.get('peer'), PEER, '', 's', note=missing),
    ]  # fmt: skip


def _absent(calls: dict[str, Call]) -> str:
    """Take out the peer where it cannot run, and say why."""
    try:
        calls['peer']()
    except RuntimeError as error:
        if 'ModuleNotFoundError' not in str(error):
            raise
        del calls['peer']
        return str(error).strip().splitlines()[-1]
    return ''
