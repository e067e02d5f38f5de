"""The weights that lie beside a config."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

from torch import Tensor

from featmap.errors import CheckpointError, first_line
from featmap.models.checkpoint import Checkpoint, load_checkpoint

_FILES = ('model.safetensors', 'pytorch_model.bin')  # the first is preferred, as by transformers


def weights_in(folder: Path, trust: bool) -> Checkpoint:
    """The weights in a folder, in one file or in several with an index.

    Raises:
        CheckpointError: there are none, or they cannot be read; see :func:`load_checkpoint`.
    """
    for name in _FILES:
        path, index = folder / name, folder / f'{name}.index.json'
        if path.is_file():
            return load_checkpoint(path, trust=trust)
        if index.is_file():
            return _of_several(index, trust)
    others = sorted(path.name for path in folder.iterdir() if path.suffix in ('.safetensors', '.bin', '.pth', '.pt'))
    hint = f'; there is {", ".join(others[:3])}, which can be given as the checkpoint' if others else ''
    raise CheckpointError(f"the folder '{folder}' has no weights: expected {' or '.join(_FILES)}, or none{hint}")


def _of_several(index: Path, trust: bool) -> Checkpoint:
    try:
        names = json.loads(index.read_text(encoding='utf-8'))['weight_map'].values()
        files = sorted({Path(name).name for name in names})  # beside the index, whatever it says
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"'{index}' is no index of weights: {type(error).__name__}: {first_line(error)}"
        ) from error
    tensors: OrderedDict[str, Tensor] = OrderedDict()
    for name in files:
        tensors.update(load_checkpoint(index.parent / name, trust=trust).state_dict)
    return Checkpoint(tensors, {}, str(index), index)
