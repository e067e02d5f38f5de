"""The device that a model runs on."""

from __future__ import annotations

import torch

from featmap.errors import ConfigError, FeatMapError, first_line
from featmap.wording import option as written


def pick_device(device: str | None) -> torch.device:
    """The device to run on: the one asked for, else the first CUDA device, else the CPU.

    Raises:
        ConfigError: for a device that this machine or this PyTorch does not have.
    """
    if device is None:
        return torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(device)
        if chosen.type == 'cuda':
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
            if (chosen.index or 0) >= count:
                raise ConfigError(
                    f'there is no device {device}: PyTorch {torch.__version__} sees {count} CUDA devices here; use '
                    f'{written("device", "cpu")}'
                )
        torch.zeros(1, device=chosen).cpu()  # 'meta' holds nothing
    except FeatMapError:
        raise
    except Exception as error:
        raise ConfigError(f'the device {device!r} cannot be used: {first_line(error)}; use cpu or cuda:0') from error
    return chosen
