"""The ops of ``mmcv._ext`` that inference and its gradients need, in plain PyTorch, under their names there."""

from featmap.models.openmmlab.ops.deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from featmap.models.openmmlab.ops.deform_conv import deform_conv_forward, modulated_deform_conv_forward
from featmap.models.openmmlab.ops.deform_conv_backward import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    modulated_deform_conv_backward,
)
from featmap.models.openmmlab.ops.nms import nms
from featmap.models.openmmlab.ops.roi_align import roi_align_backward, roi_align_forward

__all__ = [
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'roi_align_backward',
    'roi_align_forward',
]


def get_compiler_version() -> str:
    """What environment reports name as mmcv's compiler: there was none."""
    return 'n/a'


def get_compiling_cuda_version() -> str:
    """What environment reports name as the CUDA that mmcv was built with: there was none."""
    return 'n/a'
