"""A stand-in for transformers: four kinds of tiny models, behind the classes by which it is asked for its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from . import utils
from .image_processing import PROCESSORS, USUAL

__all__ = ['AutoConfig', 'AutoImageProcessor', 'utils']
__version__ = '5.0'


class Config:
    model_type = ''

    def __init__(self, **given):
        self.architectures = None
        given = {**self.usual, **given}
        if 'num_labels' in given:
            given['id2label'] = {number: f'LABEL_{number}' for number in range(given.pop('num_labels'))}
        given['id2label'] = {int(number): name for number, name in given['id2label'].items()}
        vars(self).update(given)

    usual: ClassVar = {'id2label': {0: 'LABEL_0', 1: 'LABEL_1'}}

    @property
    def num_labels(self):
        return len(self.id2label)

    def to_dict(self):
        return {'model_type': self.model_type, **vars(self)}


class ViTConfig(Config):
    model_type = 'vit'
    usual: ClassVar = {**Config.usual, 'hidden_size': 8, 'image_size': 32, 'patch_size': 8}


class DetrConfig(Config):
    model_type = 'detr'
    usual: ClassVar = {**Config.usual, 'no_object': True, 'use_pretrained_backbone': True}


class BertConfig(Config):
    model_type = 'bert'


class CLIPConfig(Config):
    model_type = 'clip'

    def __init__(self, **given):
        super().__init__(**given)
        self.vision_config = ViTConfig(**given.get('vision_config', {}))


class Model(nn.Module):
    BRIEF = False  # whether shapes are left out of reports, as by some versions
    RENAMED: ClassVar = {'old_classifier': 'classifier'}

    def __init__(self, config):
        super().__init__()
        self.config = config
        assert not getattr(config, 'use_pretrained_backbone', False), 'it would be downloaded'

    @classmethod
    def from_pretrained(cls, name, config, state_dict, output_loading_info, ignore_mismatched_sizes):
        assert (name, output_loading_info, ignore_mismatched_sizes) == (None, True, True)
        model = cls(config)
        own = model.state_dict()
        given = {}
        for key, tensor in state_dict.items():
            first, dot, rest = key.partition('.')
            given[cls.RENAMED.get(first, first) + dot + rest] = tensor
        others = {key for key in given.keys() & own.keys() if given[key].shape != own[key].shape}
        model.load_state_dict({key: given[key] for key in given.keys() & own.keys() - others}, strict=False)
        return model, {
            'missing_keys': own.keys() - given.keys(),
            'unexpected_keys': given.keys() - own.keys(),
            'mismatched_keys': others if cls.BRIEF else {(key, given[key].shape, own[key].shape) for key in others},
            'error_msgs': [],
        }


class Output(dict):
    """As a ModelOutput: a mapping whose entries are attributes, too."""

    __getattr__ = dict.__getitem__


class ViTModel(Model):
    def __init__(self, config):
        super().__init__(config)
        self.patches = nn.Conv2d(3, config.hidden_size, config.patch_size, config.patch_size)

    def forward(self, pixel_values, interpolate_pos_encoding=None):
        size = self.config.image_size
        if not interpolate_pos_encoding and pixel_values.shape[2:] != (size, size):
            raise ValueError('it is of another size')
        self.interpolated = interpolate_pos_encoding
        return Output(last_hidden_state=self.patches(pixel_values))


class ViTForImageClassification(ViTModel):
    def __init__(self, config):
        super().__init__(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pixel_values, interpolate_pos_encoding=None):
        hidden = super().forward(pixel_values, interpolate_pos_encoding)['last_hidden_state']
        return Output(logits=self.classifier(hidden.mean(dim=(2, 3))))


class ViTForSemanticSegmentation(ViTForImageClassification):
    def forward(self, pixel_values, interpolate_pos_encoding=None):
        hidden = ViTModel.forward(self, pixel_values, interpolate_pos_encoding)['last_hidden_state']
        return Output(logits=self.classifier(hidden.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class DetrForObjectDetection(Model):
    def __init__(self, config):
        super().__init__(config)
        self.patches = nn.Conv2d(3, 4, 16, 16)

    def forward(self, pixel_values, pixel_mask=None):
        assert pixel_mask.shape == (len(pixel_values), *pixel_values.shape[2:])
        self.patches(pixel_values)
        count = self.config.num_labels
        scores = [-4.0] * (count - 1) + [3.0] + [0.0] * self.config.no_object
        return Output(logits=torch.tensor([[scores]]), pred_boxes=torch.tensor([[[0.5, 0.25, 0.2, 0.3]]]))


class BertModel(Model):
    def forward(self, input_ids, attention_mask=None):
        raise AssertionError


class CLIPModel(Model):
    def forward(self, input_ids, pixel_values):
        raise AssertionError


CONFIG_MAPPING = {kind.model_type: kind for kind in (ViTConfig, DetrConfig, BertConfig, CLIPConfig)}
MODEL_MAPPING = {ViTConfig: ViTModel, BertConfig: BertModel, CLIPConfig: CLIPModel}
MODEL_FOR_OBJECT_DETECTION_MAPPING = {DetrConfig: DetrForObjectDetection}


class AutoConfig:
    @staticmethod
    def for_model(model_type, **given):
        return CONFIG_MAPPING[model_type](**given)

    @staticmethod
    def from_pretrained(folder, trust_remote_code, local_files_only, **given):
        assert (trust_remote_code, local_files_only) == (False, True)
        content = json.loads((Path(folder) / 'config.json').read_text())
        return CONFIG_MAPPING[content.pop('model_type')](**{**content, **given})


class AutoImageProcessor:
    @staticmethod
    def from_pretrained(folder, config, trust_remote_code, local_files_only):
        assert (trust_remote_code, local_files_only) == (False, True)
        content = json.loads((Path(folder) / 'preprocessor_config.json').read_text())
        kind = content.pop('image_processor_type', USUAL.get(config.model_type))
        if kind not in PROCESSORS:
            raise ValueError(f'Unrecognized image processor in {folder}.')
        return PROCESSORS[kind].from_dict(content)
