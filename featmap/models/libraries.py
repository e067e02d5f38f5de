"""Libraries that models come from: imported when a model of theirs is asked for, and asked to build and to feed it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import nn

from featmap.errors import ConfigError, FeatMapError, first_line
from featmap.models.packages import missing_name, missing_package
from featmap.models.preprocessing import Declared, Preprocessing
from featmap.models.reading import preprocessing_of
from featmap.options import Run

PRETRAINED = 'pretrained'
"""The checkpoint that a library downloads."""


def import_library(name: str, wanted_by: str) -> ModuleType:
    """A module of a library.

    Args:
        name: Its dotted name.
        wanted_by: What needs it, for messages.

    Raises:
        MissingPackageError: it, or what it needs itself, is not installed.
        ConfigError: it is, and cannot be imported.
    """
    try:
        return importlib.import_module(name)
    # Builds that do not fit one another fail in any way: torchvision's for CUDA beside a PyTorch for CPUs.
    except Exception as error:
        missing = missing_name(error)
        if missing is not None:
            raise missing_package(missing, wanted_by) from error
        raise ConfigError(
            f"{wanted_by} needs '{name}', which cannot be imported beside PyTorch {torch.__version__}: "
            f'{type(error).__name__}: {first_line(error)}'
        ) from error


def built(make: Callable[..., Any], arguments: Mapping[str, Any], name: str, hint: str = '') -> nn.Module:
    """What a library builds, with the same random weights each time.

    Args:
        make: Called with the arguments.
        arguments: By their names.
        name: What is built, for messages.
        hint: What to do where it fails.

    Raises:
        MissingPackageError: it needs a package that is not installed.
        ConfigError: it fails.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return make(**arguments)
        except FeatMapError:
            raise
        # Arguments are the user's, and weights may have to be downloaded: it can fail in any way.
        except Exception as error:
            missing = missing_name(error)
            if missing is not None:
                raise missing_package(missing, f"the model '{name}'") from error
            said = f'{name} cannot be built: {type(error).__name__}: {first_line(error)}'
            raise ConfigError(f'{said}; {hint}' if hint else said) from error


def preprocessing_like(
    run: Run,
    module: nn.Module,
    size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    make: Callable[[tuple[int, int], tuple[float, ...], tuple[float, ...]], Callable[..., Any]],
) -> Preprocessing:
    """A library's own preprocessing, with what a run asks of it otherwise.

    Args:
        run: The run. A function in it, or a way to resize, stands in place of the library's own.
        module: The model.
        size: Height and width of the input that the library says.
        mean: What it subtracts, of values up to 1.
        std: What it divides that by.
        make: From a size, a mean and a deviation to the library's own.

    Raises:
        FeatMapError: where a function is not found, or what is declared makes no sense.
    """
    model = run.model
    if model.preprocess is not None:
        return preprocessing_of(run, module)
    mean, std = mean if model.mean is None else model.mean, std if model.std is None else model.std
    declared = Declared(model.input_size or size, model.resize or 'letterbox', mean, std)
    if model.resize is not None:
        return Preprocessing(declared)
    factor = 255 if max(*map(abs, declared.mean), *declared.std) > 1 else 1
    unit = [tuple(value / factor for value in values) for values in (declared.mean, declared.std)]
    return Preprocessing(make(declared.input_size, *unit))  # type: ignore[arg-type]
