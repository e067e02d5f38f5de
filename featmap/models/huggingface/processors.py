"""Image processors: the one that lies beside a config, else the one that is usual for the type of model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from featmap.errors import ConfigError, OptionError, first_line
from featmap.models.huggingface.configs import Place
from featmap.models.preprocessing import Declared, Preprocessing
from featmap.models.reading import own_input_size, preprocessing_of
from featmap.options import Run
from featmap.wording import option as written

# Types of model that share the image processor of another, where transformers does not say so.
_LIKE = {
    'd_fine': 'rt_detr',
    'dinov2_with_registers': 'dinov2',
    'dinov3_convnext': 'dinov3_vit',
    'rt_detr_v2': 'rt_detr',
}
_VISION = '_vision_model'


def preprocessing_by_processor(
    transformers: Any, run: Run, model: nn.Module, config: Any, place: Place
) -> Preprocessing:
    """The image processor of a model, with what a run asks of it otherwise.

    A function in the run, or a way to resize, stands in place of the processor. Where there is none for the type of
    model, images are letterboxed, with a warning.

    Args:
        transformers: The package.
        run: The run.
        model: The module.
        config: Of the whole model.
        place: Where it lies.

    Raises:
        FeatMapError: the processor cannot be read, or what the run asks for makes no sense.
    """
    asked = run.model
    if asked.preprocess is not None:
        return preprocessing_of(run, model)
    if place.has_processor:
        processor = _beside(transformers, config, place, asked.trust_checkpoint)
        size = asked.input_size
    else:
        processor = _usual(transformers, config)
        size = asked.input_size or own_input_size(model)
    if processor is None:
        return preprocessing_of(run, model)
    mean, std = asked.mean or getattr(processor, 'image_mean', None), asked.std or getattr(processor, 'image_std', None)
    declared = Declared.parse(asked.input_size or own_input_size(model) or 224, asked.resize, mean, std)
    if asked.resize is not None:
        return Preprocessing(declared)
    changes: dict[str, Any] = {}
    if asked.mean is not None or asked.std is not None:
        factor = 255 if max(*map(abs, declared.mean), *declared.std) > 1 else 1
        changes['image_mean'] = [value / factor for value in declared.mean]
        changes['image_std'] = [value / factor for value in declared.std]
        changes['do_normalize'] = True
    if size is not None:
        given = processor.to_dict()
        # Those that keep an image's ratio within limits are for models of any size.
        if asked.input_size is not None or not given.get('size', {}).get('longest_edge'):
            changes |= _resized(given, (size, size) if isinstance(size, int) else (size[0], size[-1]), processor)
    return Preprocessing(type(processor).from_dict({**processor.to_dict(), **changes}) if changes else processor)


def _beside(transformers: Any, config: Any, place: Place, trust: bool) -> Any:
    try:
        return transformers.AutoImageProcessor.from_pretrained(
            place.folder, config=config, trust_remote_code=trust, local_files_only=True
        )
    # It holds anything, and may need packages of its own.
    except Exception as error:
        raise ConfigError(
            f"the image processor of '{place.name}' cannot be made: {type(error).__name__}: {first_line(error)}; "
            f'{written("preprocess")} does without'
        ) from error


def _usual(transformers: Any, config: Any) -> Any:
    """The image processor that is usual for a type of model, with its own settings; None where there is none."""
    kind = str(getattr(config, 'model_type', ''))
    for name in dict.fromkeys([kind, _LIKE.get(kind, ''), kind.removesuffix(_VISION)]):
        if name not in transformers.CONFIG_MAPPING:
            continue
        of_kind = config if name == kind else transformers.CONFIG_MAPPING[name]()
        with TemporaryDirectory() as folder:
            Path(folder, 'preprocessor_config.json').write_text('{}', encoding='utf-8')
            try:
                return transformers.AutoImageProcessor.from_pretrained(
                    folder, config=of_kind, trust_remote_code=False, local_files_only=True
                )
            except (ValueError, KeyError, OSError, ImportError):  # what the versions of it say where there is none
                continue
    return None


def _resized(given: Mapping[str, Any], size: tuple[int, int], processor: Any) -> dict[str, Any]:
    """The settings of a processor for another size of the network input, (height, width)."""
    old, crop = given.get('size') or {}, given.get('crop_size') or {}
    crops = bool(given.get('do_center_crop')) and 'height' in crop
    changes: dict[str, Any] = {'crop_size': {'height': size[0], 'width': size[1]}} if crops else {}
    if old.get('height') and old.get('width'):
        sides = zip(size, ('height', 'width'))
        wanted = {side: round(new * max(old[side] / crop[side], 1)) if crops else new for new, side in sides}
    elif old.get('shortest_edge') and not old.get('longest_edge'):
        if not crops and size[0] != size[1]:
            raise OptionError(
                f'{written("input_size", list(size))}: {type(processor).__name__} takes one number, the side of a '
                f'square; {written("resize", "stretch")} makes any'
            )
        margin = max(old['shortest_edge'] / min(crop['height'], crop['width']), 1) if crops else 1
        wanted = {'shortest_edge': round(max(size) * margin)}
    else:
        wanted = {'max_height': size[0], 'max_width': size[1]}
    return {**changes, 'size': wanted}
