"""Models of one's own: ``path/to/file.py:factory`` or ``package.module:factory``."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from featmap.errors import ConfigError, FeatMapError, first_line
from featmap.models.device import pick_device
from featmap.models.factories import attribute_of, import_place
from featmap.models.network import Network
from featmap.models.opening import network_of
from featmap.models.overrides import as_dict
from featmap.models.reading import DECLARING, weights_of
from featmap.models.source import ModelSource
from featmap.options import Run
from featmap.registry import MODEL_SOURCES


@MODEL_SOURCES.register_module('own')
class OwnSource(ModelSource):
    """A function that makes a module, a class of modules, or a module."""

    kind = 'a model of your own'
    takes = frozenset({'model_args', *DECLARING})

    def open(self, run: Run) -> Network:
        """Call the factory, the same random weights each time, and load the checkpoint into what it returns."""
        place, _, factory = self.request.name.rpartition(':')
        arguments = as_dict(run.model.model_args, 'model_args', 'width=32')
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # for what the file itself builds, too
            module = import_place(place)
            torch.manual_seed(0)
            model = _made(attribute_of(module, factory, place), arguments, self.request.name)
        weights = weights_of(run, self.request)
        return network_of(
            run,
            model,
            device=pick_device(run.model.device),
            checkpoint=weights,
            random_weights=weights is None,
            name=self.request.name,
            beside=module,
            place=place,
        )


def _made(factory: Any, arguments: dict[str, Any], name: str) -> nn.Module:
    if isinstance(factory, nn.Module):
        if arguments:
            raise ConfigError(f'{name} is a module already, and takes no model_args')
        return factory
    if not callable(factory):
        raise ConfigError(f'{name} is {type(factory).__name__}: expected a function that returns an nn.Module')
    try:
        model = factory(**arguments)
    except FeatMapError:
        raise
    # It is the user's own code, so it can fail in any way.
    except Exception as error:
        said = ', '.join(f'{key}={value!r}' for key, value in arguments.items())
        takes = f'; it takes {_signature(factory)}' if isinstance(error, TypeError) else ''
        raise ConfigError(f'{name}({said}) failed: {type(error).__name__}: {first_line(error)}{takes}') from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f'{name} returned {type(model).__name__}: expected an nn.Module')
    return model


def _signature(factory: Any) -> str:
    """What a function or a class takes, as far as fits a line."""
    try:
        text = str(inspect.signature(factory))
    except (TypeError, ValueError):  # compiled, without one
        return 'other arguments'
    return text if len(text) <= 300 else f'{text[:297]}...'
