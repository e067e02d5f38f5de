"""A model's weights: read from a checkpoint without running code, and put into a model with a report."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from featmap.download import is_url
from featmap.errors import CheckpointError
from featmap.models.checkpoint_files import read_file
from featmap.models.download import fetch
from featmap.models.unpickling import LeftOut
from featmap.models.weight_names import named_for, state_dict_in
from featmap.schema import SchemaError, many, maybe, record, text


def _names(value: Any, place: str) -> Any:
    """The classes: one name, or several."""
    name = text(1000)
    return name(value, place) if isinstance(value, str) else many(name, most=100_000)(value, place)


_CLASSES = {key: maybe(_names) for key in ('classes', 'CLASSES', 'Classes')}
_META = record({}, {**_CLASSES, 'dataset_meta': maybe(record({}, _CLASSES))})


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of a model, on the CPU, and where they come from.

    Attributes:
        state_dict: the tensors by name, as the model's own ``state_dict`` names them.
        meta: what training noted beside them, such as ``dataset_meta``.
        source: the path or URL that was given.
        path: the file that was read.
    """

    state_dict: OrderedDict[str, Tensor]
    meta: dict[str, Any]
    source: str
    path: Path

    @cached_property
    def sha256(self) -> str:
        """The file's SHA-256, in hex. Computed when first asked for."""
        digest = hashlib.sha256()
        with self.path.open('rb') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                digest.update(block)
        return digest.hexdigest()


class ShapeMismatch(NamedTuple):
    """A tensor that has one shape in the checkpoint and another in the model."""

    name: str
    in_checkpoint: tuple[int, ...]
    in_model: tuple[int, ...]


@dataclass(frozen=True)
class WeightReport:
    """Which of a checkpoint's tensors went into a model, by name, without bookkeeping buffers.

    Attributes:
        loaded: now in the model.
        missing: in the model only; they keep the values they had.
        unexpected: in the checkpoint only.
        mismatched: in both, but of different shapes; the model keeps its own.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[ShapeMismatch, ...] = field(default=())

    def summary(self) -> str:
        """One line: counts, and the first names of what did not fit."""
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        counts = f'loaded {len(self.loaded)} of {total} tensors'
        parts = []
        if self.mismatched:
            shapes = [f'{name} {_shape(theirs)} for {_shape(ours)}' for name, theirs, ours in self.mismatched]
            parts.append(f'other shape: {_some(shapes)}')
        if self.missing:
            parts.append(f'missing: {_some(self.missing)}')
        if self.unexpected:
            parts.append(f'unused: {_some(self.unexpected)}')
        return '; '.join([counts, *parts])


def is_word(checkpoint: str | Path | None, word: str) -> bool:
    """Whether a checkpoint is a word, and not a file of that name."""
    return checkpoint is not None and str(checkpoint).lower() == word and not Path(checkpoint).exists()


def is_none(checkpoint: str | Path | None) -> bool:
    """Whether random weights are asked for: None, or the word none where there is no file of that name."""
    return checkpoint is None or is_word(checkpoint, 'none')


def load_checkpoint(path_or_url: str | Path, trust: bool = False) -> Checkpoint:
    """Read a checkpoint: one of MMEngine's, a bare state dict, or one under ``model`` or another usual key.

    Of MMEngine's training checkpoints ``state_dict`` is taken, never ``ema_state_dict``: where training kept averaged
    weights (``EMAHook``), the hook swaps the two when it saves, so that ``state_dict`` holds the averaged ones. The
    prefixes of data-parallel training and of ``torch.compile`` are taken off.

    Args:
        path_or_url: a file, or an http(s) address, which is downloaded once into PyTorch's cache.
        trust: unpickle in full, for files that weights-only loading refuses. Such a file can run any code.

    Raises:
        CheckpointError: the file cannot be had or read, wants to run code, or holds no weights.
    """
    source = str(path_or_url)
    path = fetch(source) if is_url(source) else Path(source).expanduser()
    try:
        content = read_file(path, trust=trust)
    except CheckpointError as error:
        if not is_url(source):
            raise
        raise CheckpointError(f'{error}; it came from {source}, delete the file to download it again') from error
    state_dict = state_dict_in(content)
    if not state_dict:
        raise CheckpointError(f"'{source}' has no weights in it: it holds {_described(content)}, not a state dict")
    try:
        meta = _META(_without_left_out(content.get('meta') if isinstance(content, Mapping) else None), 'meta')
    except SchemaError as error:
        raise CheckpointError(f"'{source}' is damaged, or no model's: {error}") from error
    return Checkpoint(state_dict, meta, source, path)


def apply_weights(model: nn.Module, checkpoint: Checkpoint) -> WeightReport:
    """Copy a checkpoint's tensors into a model, each cast to the type of the model's own.

    A prefix that all names of one of the two have more is no hindrance: see :func:`named_for`.

    Tensors of another shape, such as those of a head for another number of classes, are left out and reported.

    Raises:
        CheckpointError: fewer than half of the model's parameters fit. The model is then unchanged.
    """
    own = model.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items() if isinstance(tensor, Tensor)}
    parameters = [name for name, _ in model.named_parameters()]
    incoming = named_for(checkpoint.state_dict, parameters)
    mismatched = tuple(
        ShapeMismatch(name, tuple(tensor.shape), shapes[name])
        for name, tensor in incoming.items()
        if name in shapes and tuple(tensor.shape) != shapes[name]
    )
    wrong = {mismatch.name for mismatch in mismatched}
    fitting = sum(name in incoming and name not in wrong for name in parameters)
    if 2 * fitting < len(parameters) or not fitting:
        raise CheckpointError(_unfit(checkpoint, parameters, fitting, mismatched))

    # Names that only the checkpoint has are handed over too: some modules still know older names of their tensors.
    kept = OrderedDict((name, tensor) for name, tensor in incoming.items() if name not in wrong)
    kept._metadata = getattr(incoming, '_metadata', None)  # type: ignore[attr-defined]
    try:
        missing, unexpected = model.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise CheckpointError(f"'{checkpoint.source}' does not fit the model: {reason[:300]}") from error
    absent = set(missing)
    return WeightReport(
        loaded=_weights(name for name in shapes if name not in absent),
        missing=_weights(name for name in missing if name not in wrong),
        unexpected=_weights(unexpected),
        mismatched=mismatched,
    )


def _without_left_out(meta: Any) -> Any:
    """What training noted, without what was not loaded, such as arrays, and without names that are no text."""
    if not isinstance(meta, Mapping):
        return {}
    return {
        key: _without_left_out(value) if key == 'dataset_meta' and isinstance(value, Mapping) else value
        for key, value in meta.items()
        if isinstance(key, str) and not isinstance(value, LeftOut)
    }


def _unfit(checkpoint: Checkpoint, parameters: list[str], fitting: int, mismatched: tuple[ShapeMismatch, ...]) -> str:
    start = (
        f"'{checkpoint.source}' is of another architecture than the model: "
        f"{fitting} of the model's {len(parameters)} parameters fit"
    )
    ours_only = [name for name in parameters if name not in checkpoint.state_dict]
    if len(mismatched) > len(ours_only):
        name, theirs, ours = mismatched[0]
        return (
            f'{start}; the names agree but the sizes do not, as between variants of a model: '
            f'{name} is {_shape(theirs)} in the checkpoint and {_shape(ours)} in the model'
        )
    here = set(parameters)
    theirs_only = [name for name in checkpoint.state_dict if name not in here]
    return (
        f'{start}; the checkpoint has {_some(theirs_only or checkpoint.state_dict)}; the model wants {_some(ours_only)}'
    )


def _weights(names: Iterable[str]) -> tuple[str, ...]:
    """The names without those that are no weights: counters of batches, and the preprocessor's mean and deviation."""
    return tuple(
        name
        for name in names
        if not name.startswith('data_preprocessor.') and name.rpartition('.')[2] != 'num_batches_tracked'
    )


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        return f'a dict of {_some([str(key) for key in content])}' if content else 'an empty dict'
    return f'a {type(content).__name__}'


def _some(names: Iterable[str], count: int = 3) -> str:
    listed = [name if len(name) <= 100 else f'{name[:97]}...' for name in names]
    more = f' and {len(listed) - count} more' if len(listed) > count else ''
    return ', '.join(listed[:count]) + more


def _shape(shape: tuple[int, ...]) -> str:
    return '×'.join(map(str, shape)) or 'a scalar'
