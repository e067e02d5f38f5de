import hashlib
from collections import OrderedDict
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.logging import MessageHub
from torch import nn

from featmap.errors import CheckpointError
from featmap.models import checkpoint as module
from featmap.models.checkpoint import Checkpoint, ShapeMismatch, apply_weights, load_checkpoint


class Net(nn.Module):
    def __init__(self, classes=2, width=4):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width), nn.Conv2d(width, width, 1))
        self.head = nn.Linear(width, classes)


def filled(net, value):
    for tensor in net.state_dict().values():
        tensor.fill_(value)
    return net


def checkpoint_of(state_dict):
    return Checkpoint(OrderedDict(state_dict), {}, 'net.pth', Path('net.pth'))


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_a_training_checkpoint_of_mmengine_gives_the_averaged_weights(tmp_path):
    net = filled(Net(), 1.0)
    hook, runner = EMAHook(momentum=0.25), SimpleNamespace(model=net, iter=0, epoch=0)
    hook.before_run(runner)
    filled(net, 3.0)
    for runner.iter in range(2):
        # The first update copies, the second averages: 0.75 · 3 + 0.25 · 7 = 4.
        hook.after_train_iter(runner, runner.iter)
        filled(net, 7.0)
    hub = MessageHub('test')
    hub.update_scalar('loss', 0.5)
    optimizer = torch.optim.Adam(net.parameters())
    content = {
        'meta': {'epoch': 3, 'dataset_meta': {'classes': ('a', 'b')}},
        'state_dict': net.state_dict(),
        'message_hub': hub.state_dict(),
        'optimizer': optimizer.state_dict(),
        'param_schedulers': [torch.optim.lr_scheduler.MultiStepLR(optimizer, [1]).state_dict()],
    }
    hook.before_save_checkpoint(runner, content)
    torch.save(content, tmp_path / 'epoch_3.pth')
    assert content['ema_state_dict']['module.head.bias'].tolist() == [7.0, 7.0]

    loaded = load_checkpoint(tmp_path / 'epoch_3.pth')

    assert loaded.meta == {'epoch': 3, 'dataset_meta': {'classes': ('a', 'b')}}
    assert loaded.state_dict['head.bias'].tolist() == [4.0, 4.0]
    assert list(loaded.state_dict) == list(net.state_dict())
    assert loaded.source == str(tmp_path / 'epoch_3.pth')
    assert loaded.sha256 == hashlib.sha256((tmp_path / 'epoch_3.pth').read_bytes()).hexdigest()


@pytest.mark.parametrize(
    'wrapped',
    [
        lambda weights: weights,
        lambda weights: {'model': weights, 'epoch': 1},
        lambda weights: {'state_dict': weights, 'meta': None},
        lambda weights: {'model': 'the name of one', 'state_dict': weights},
        lambda weights: {'state_dict': OrderedDict((f'module.{name}', value) for name, value in weights.items())},
        lambda weights: {'params': weights, 'optimizer': {'state': {0: {'step': torch.ones(1)}}}},
        lambda weights: {'my_net': weights, 'epoch': 1},
        lambda weights: {f'_orig_mod.{name}': value for name, value in weights.items()},
        lambda weights: {f'module._orig_mod.{name}': value for name, value in weights.items()},
        lambda weights: {name.replace('head.', 'head._orig_mod.'): value for name, value in weights.items()},
    ],
)
def test_finds_the_weights(tmp_path, wrapped):
    net = Net()
    torch.save(wrapped(net.state_dict()), tmp_path / 'a.pth')

    loaded = load_checkpoint(tmp_path / 'a.pth')

    assert list(loaded.state_dict) == list(net.state_dict())
    assert all(torch.equal(loaded.state_dict[name], value) for name, value in net.state_dict().items())
    assert loaded.meta == {}


def test_keeps_a_prefix_that_not_all_names_have(tmp_path):
    torch.save({'module.a': torch.ones(1), 'b': torch.ones(1)}, tmp_path / 'a.pth')

    assert list(load_checkpoint(tmp_path / 'a.pth').state_dict) == ['module.a', 'b']


def test_keeps_the_versions_of_modules(tmp_path):
    wrapped = nn.DataParallel(Net())
    torch.save(wrapped.state_dict(), tmp_path / 'a.pth')

    assert load_checkpoint(tmp_path / 'a.pth').state_dict._metadata['backbone.1'] == {'version': 2}


def test_a_whole_module_only_where_the_file_is_trusted(tmp_path):
    torch.save({'model': Net()}, tmp_path / 'a.pth')

    assert 'test_checkpoint.Net' in refused(tmp_path / 'a.pth')
    assert 'head.bias' in load_checkpoint(tmp_path / 'a.pth', trust=True).state_dict


def test_a_module_alone_where_the_file_is_trusted(tmp_path):
    torch.save(filled(Net(), 2.0), tmp_path / 'a.pth')

    loaded = load_checkpoint(tmp_path / 'a.pth', trust=True)
    assert loaded.state_dict['head.bias'].tolist() == [2.0, 2.0]
    assert loaded.meta == {}


class Wrapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Module()
        self.inner.net = Net()


@pytest.mark.parametrize('prefix', ['model.', 'student.encoder.'])
def test_weights_within_the_module_that_trained_them(prefix):
    old = filled(Net(), 2.0)
    weights = {'loss.weight': torch.ones(3), **{prefix + name: value for name, value in old.state_dict().items()}}
    checkpoint = checkpoint_of(weights)
    checkpoint.state_dict._metadata = nn.ModuleDict({'model': old}).state_dict()._metadata

    net = filled(Net(), 0.0)
    report = apply_weights(net, checkpoint)
    assert (report.missing, report.unexpected) == ((), ('loss.weight',))
    assert all((tensor == 2).all() for tensor in net.state_dict().values())


def test_weights_of_a_model_that_a_wrapper_holds():
    model = Wrapper()
    report = apply_weights(model, checkpoint_of(filled(Net(), 2.0).state_dict()))
    assert (report.missing, report.unexpected) == ((), ())
    assert all((tensor == 2).all() for tensor in model.state_dict().values())


def test_no_names_are_guessed_where_two_would_do_or_some_are_missing():
    weights = Net().state_dict()
    both = {prefix + name: value for prefix in ('student.', 'teacher.') for name, value in weights.items()}
    some = {f'model.{name}': value for name, value in weights.items() if name != 'head.bias'}
    for given in (both, some):
        with pytest.raises(CheckpointError, match=r'0 of the model.s 8 parameters fit'):
            apply_weights(Net(), checkpoint_of(given))


@pytest.mark.parametrize(
    ('content', 'part'),
    [
        ({}, 'an empty dict'),
        ({'epoch': 1, 'state_dict': {}}, 'a dict of epoch, state_dict'),
        (torch.ones(2), 'a Tensor'),
        ([torch.ones(2)], 'a list'),
    ],
)
def test_without_weights(tmp_path, content, part):
    torch.save(content, tmp_path / 'a.pth')

    assert f'has no weights in it: it holds {part}' in refused(tmp_path / 'a.pth')


def test_from_an_address(tmp_path, monkeypatch):
    torch.save({'a': torch.ones(1)}, tmp_path / 'a.pth')
    (tmp_path / 'page.pth').write_text('<html>')
    monkeypatch.setattr(module, 'fetch', lambda url: tmp_path / url.rpartition('/')[2])

    loaded = load_checkpoint('https://example.org/a.pth')
    assert (loaded.source, loaded.path) == ('https://example.org/a.pth', tmp_path / 'a.pth')
    assert 'it came from https://example.org/page.pth, delete' in refused('https://example.org/page.pth')


def test_applies_all():
    net, source = filled(Net(), 0.0), filled(Net(), 2.0)

    report = apply_weights(net, checkpoint_of(source.state_dict()))

    assert all((value == 2).all() for value in net.state_dict().values())
    assert report.loaded == tuple(name for name in net.state_dict() if name != 'backbone.1.num_batches_tracked')
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    assert report.summary() == 'loaded 10 of 10 tensors'
    with pytest.raises(FrozenInstanceError):
        report.loaded = ()


def test_casts_to_the_models_type():
    net, source = filled(Net(), 0.0), filled(Net(), 2.0).half()

    apply_weights(net, checkpoint_of(source.state_dict()))

    assert net.head.weight.dtype == torch.float32
    assert net.head.weight.flatten().tolist() == [2.0] * 8


def test_reports_a_head_of_other_classes_and_keeps_the_models():
    net, source = filled(Net(classes=2), 0.0), filled(Net(classes=3), 2.0)

    report = apply_weights(net, checkpoint_of(source.state_dict()))

    assert report.mismatched == (
        ShapeMismatch('head.weight', (3, 4), (2, 4)),
        ShapeMismatch('head.bias', (3,), (2,)),
    )
    assert (report.missing, report.unexpected) == ((), ())
    assert net.head.bias.tolist() == [0.0, 0.0]
    assert (net.backbone[0].weight == 2).all()
    assert report.summary() == 'loaded 8 of 10 tensors; other shape: head.weight 3×4 for 2×4, head.bias 3 for 2'


def test_reports_missing_and_unexpected_but_no_bookkeeping():
    state_dict = filled(Net(), 2.0).state_dict()
    for name in ('head.bias', 'backbone.1.num_batches_tracked'):
        del state_dict[name]
    state_dict['data_preprocessor.mean'] = torch.ones(3)
    for index in range(4):
        state_dict[f'extra.{index}'] = torch.ones(1)

    report = apply_weights(Net(), checkpoint_of(state_dict))

    assert report.missing == ('head.bias',)
    assert report.unexpected == ('extra.0', 'extra.1', 'extra.2', 'extra.3')
    assert report.summary() == (
        'loaded 9 of 10 tensors; missing: head.bias; unused: extra.0, extra.1, extra.2 and 1 more'
    )


@pytest.mark.parametrize(
    ('state_dict', 'parts'),
    [
        (
            {'encoder.weight': torch.ones(2), 'decoder.weight': torch.ones(2)},
            ('0 of', 'the checkpoint has encoder.weight', 'the model wants backbone.0.weight'),
        ),
        (Net(width=8).state_dict(), ('1 of', 'the sizes do not', 'backbone.0.weight is 8×3×1×1', '4×3×1×1')),
        (
            {name: value for name, value in Net().state_dict().items() if name.startswith('head')},
            ('2 of', 'the checkpoint has head.weight, head.bias', 'backbone.0.weight'),
        ),
    ],
)
def test_refuses_another_architecture_and_leaves_the_model_alone(state_dict, parts):
    net = filled(Net(), 0.0)

    with pytest.raises(CheckpointError) as caught:
        apply_weights(net, checkpoint_of(state_dict))

    assert '\n' not in str(caught.value)
    for part in ("'net.pth' is of another architecture", f"{parts[0]} the model's 8 parameters", *parts[1:]):
        assert part in str(caught.value)
    assert all((value == 0).all() for value in net.state_dict().values())


def test_a_module_may_know_older_names():
    class Renamed(Net):
        def _load_from_state_dict(self, state_dict, prefix, *args):
            state_dict['head.bias'] = state_dict.pop('head.offset')
            super()._load_from_state_dict(state_dict, prefix, *args)

    state_dict = filled(Net(), 2.0).state_dict()
    state_dict['head.offset'] = state_dict.pop('head.bias')
    net = filled(Renamed(), 0.0)

    report = apply_weights(net, checkpoint_of(state_dict))

    assert net.head.bias.tolist() == [2.0, 2.0]
    assert (report.missing, report.unexpected) == ((), ())


@pytest.mark.parametrize('metadata', [{3: {}}, {'': 7}, {'': {'version': 'two'}}, {'': {'version': [1]}}])
def test_versions_that_are_none_are_left(tmp_path, metadata):
    state_dict = nn.Sequential(nn.BatchNorm2d(2)).state_dict()
    state_dict._metadata = metadata
    torch.save(state_dict, tmp_path / 'a.pth')
    checkpoint = load_checkpoint(tmp_path / 'a.pth')
    assert checkpoint.state_dict._metadata == {}
    assert not apply_weights(nn.Sequential(nn.BatchNorm2d(2)), checkpoint).missing


@pytest.mark.parametrize(
    ('meta', 'message'),
    [
        ({'CLASSES': ['a', 3]}, r'meta\.CLASSES\[1\] is 3, expected a text'),
        ({'dataset_meta': [1]}, r'meta\.dataset_meta is a list of 1, expected a dict'),
        ({'dataset_meta': {'classes': 7}}, r'meta\.dataset_meta\.classes is 7, expected a list'),
        ({'classes': {'a': 'b'}}, 'meta.classes is a dict of 1'),
        ({'classes': ['a' * 5000]}, 'of 5000 characters, expected a text of up to 1000'),
    ],
)
def test_names_of_classes_that_are_none(tmp_path, meta, message):
    torch.save({'state_dict': Net().state_dict(), 'meta': meta}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path / 'a.pth')
    assert '\n' not in str(caught.value)


def test_what_was_not_loaded_of_the_meta_is_left(tmp_path):
    meta = {'CLASSES': np.array(['a']), 5: 'five', 'dataset_meta': {'classes': ('a', 'b'), 'palette': np.zeros((2, 3))}}
    torch.save({'state_dict': Net().state_dict(), 'meta': meta}, tmp_path / 'a.pth')
    assert load_checkpoint(tmp_path / 'a.pth').meta == {'dataset_meta': {'classes': ('a', 'b')}}
    torch.save({'state_dict': Net().state_dict(), 'meta': 'none'}, tmp_path / 'a.pth')
    assert load_checkpoint(tmp_path / 'a.pth').meta == {}
