"""Files of ``torch.export``, whose layers can be recorded; and of TorchScript, whose cannot."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from featmap.errors import ConfigError, first_line
from featmap.models.device import pick_device
from featmap.models.network import Network
from featmap.models.opening import network_of
from featmap.models.reading import DECLARING, weights_of
from featmap.models.source import ModelSource, Request
from featmap.options import Run
from featmap.registry import MODEL_SOURCES
from featmap.wording import option as written

_HOW = 'torch.export.save(torch.export.export(model, (inputs,)), "model.pt2")'


@MODEL_SOURCES.register_module('exported')
class ExportedSource(ModelSource):
    """A ``.pt2`` file, unfolded into the modules that it was exported from.

    Its weights are in it; a checkpoint replaces them.
    """

    kind = 'an exported model, whose arguments are fixed'
    takes = DECLARING

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.path = Path(request.name).expanduser()
        _check(self.path)

    def open(self, run: Run) -> Network:
        """Load the program, which needs trust: PyTorch unpickles and evaluates what is in it."""
        if not run.model.trust_checkpoint:
            raise ConfigError(
                f"'{self.path}' is a file of torch.export, which PyTorch cannot read without running what is in it: "
                f'{written("trust_checkpoint", True)} loads it, if you trust its source'
            )
        import torch.export

        if not hasattr(torch.export, 'unflatten'):
            raise ConfigError(f'PyTorch {torch.__version__} cannot unfold what torch.export wrote: 2.6 or newer can')
        try:
            program = torch.export.load(self.path)
            model = torch.export.unflatten(program)
        # It may be of another version, or damaged in any way.
        except Exception as error:
            raise ConfigError(
                f"'{self.path}' cannot be loaded by PyTorch {torch.__version__}: {type(error).__name__}: "
                f'{first_line(error)}'
            ) from error
        size = _input_size(program, self.path)
        if size is not None:
            model.image_size = size  # type: ignore[assignment]  # where any model says it
        return network_of(
            run,
            model,
            device=pick_device(run.model.device),
            checkpoint=weights_of(run, self.request),
            name=str(self.path),
            weights_name=str(self.path),
        )


def _check(path: Path) -> None:
    """Tell files of other kinds by what is in them, which no suffix does.

    Raises:
        ConfigError: where it is no file of ``torch.export``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition('/')[2] for name in archive.namelist()[:100_000]}
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file '{path}'") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"'{path}' is no model: expected a config, a name, or a file that {_HOW} wrote") from error
    if 'archive_format' in names and any(name.startswith('models/') for name in names):
        return
    if 'constants.pkl' in names or any(name.startswith('code/') for name in names):
        raise ConfigError(
            f"'{path}' is of TorchScript, which runs its layers where no hook is called; {_HOW} writes a file that can "
            'be drawn, and file.py:factory takes the Python code with a checkpoint'
        )
    if 'data.pkl' in names:
        raise ConfigError(f"'{path}' holds weights and no model: the config comes first, then the checkpoint")
    raise ConfigError(f"'{path}' is no model: expected a file that {_HOW} wrote with PyTorch 2.6 or newer")


def _input_size(program: Any, path: Path) -> tuple[int, int] | None:
    """Height and width that the program was exported for; None where they may vary.

    Raises:
        ConfigError: where it takes something else than images alone.
    """
    wanted = program.graph_signature.user_inputs
    shapes = [tuple(node.meta['val'].shape) for node in program.graph.nodes if node.name in wanted]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        taken = ', '.join('×'.join(map(str, shape)) for shape in shapes) or 'nothing'
        raise ConfigError(f"'{path}' takes {taken}: expected one input of (N, C, H, W)")
    _, _, rows, columns = shapes[0]
    return (rows, columns) if isinstance(rows, int) and isinstance(columns, int) else None
