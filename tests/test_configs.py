"""Each file in configs/ is the packaged config that it names."""

from pathlib import Path

import pytest

from featmap.models.openmmlab.config import load_config

ROOT = Path(__file__).parents[1] / 'configs'
FILES = sorted(file.relative_to(ROOT).as_posix() for file in ROOT.rglob('*.py') if 'demo' not in file.parts)


def without_scopes(value):
    """The value without the ``_scope_`` that MMEngine writes into what is inherited from another package."""
    if isinstance(value, dict):
        return {key: without_scopes(item) for key, item in value.items() if key != '_scope_'}
    if isinstance(value, (list, tuple)):
        return type(value)(without_scopes(item) for item in value)
    return value


def test_every_family_is_there():
    families = {name.partition('/')[0] for name in FILES}

    assert families == {'yolov5', 'yolov6', 'yolov7', 'yolov8', 'yolox', 'ppyoloe', 'rtmdet'}


@pytest.mark.parametrize('name', FILES)
def test_is_the_packaged_config_of_its_name(name):
    ours, packaged = load_config(ROOT / name), load_config(f'mmyolo::{name}')

    assert ours.model.type in ('YOLODetector', 'mmdet.YOLODetector')
    assert ours.test_dataloader.dataset.pipeline
    assert without_scopes(ours.to_dict()) == without_scopes(packaged.to_dict())
