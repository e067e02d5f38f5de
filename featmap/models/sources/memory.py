"""Modules that are built already."""

from __future__ import annotations

import torch
from torch import nn

from featmap.models.device import pick_device
from featmap.models.network import Network
from featmap.models.opening import network_of
from featmap.models.reading import DECLARING, weights_of
from featmap.models.source import ModelSource
from featmap.options import Run
from featmap.registry import MODEL_SOURCES


@MODEL_SOURCES.register_module('memory')
class MemorySource(ModelSource):
    """A module, which is put into eval mode on the device; a checkpoint, if any, is loaded into it."""

    kind = 'a module that is built already'
    takes = DECLARING

    def open(self, run: Run) -> Network:
        """The module with its preprocessing."""
        model = self.request.module
        assert model is not None
        return network_of(
            run,
            model,
            device=_device_of(model) if run.model.device is None else pick_device(run.model.device),
            checkpoint=weights_of(run, self.request),
            name=type(model).__name__,
        )


def _device_of(model: nn.Module) -> torch.device:
    """Where the module is: whoever built it has put it there."""
    first = next(model.parameters(), None)
    return pick_device(None) if first is None else first.device
