"""The training tool of the classifier, run as a developer runs it, and the weights that it made."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_scenes import CLASSES
from demo_scenes.classifier_card import Figures, classifier_card
from PIL import Image
from train_demo_classifier import changed, train

from featmap.models.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'train_demo_classifier.py'
WEIGHTS = ROOT / 'demo' / 'classifier.pth'
CARD = ROOT / 'demo' / 'CLASSIFIER_CARD.md'


def run_tool(*args):
    command = [sys.executable, str(TOOL), '--threads', '1', *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with what a run of two iterations writes, and what it said."""
    out = tmp_path_factory.mktemp('demo')
    return out, run_tool('--iters', 2, '--count', 16, '--held-out', 8, '--out', out)


@pytest.fixture(scope='module', params=['trained', 'shipped'])
def weights(request):
    """The path of a file of weights: one just made, and the one in demo/."""
    if request.param == 'shipped':
        return WEIGHTS
    return request.getfixturevalue('trained')[0] / WEIGHTS.name


def test_a_run_writes_weights_classes_and_card_and_says_how_it_went(trained):
    out, said = trained
    assert sorted(path.name for path in out.iterdir()) == [
        'CLASSIFIER_CARD.md',
        'classifier.pth',
        'classifier_classes.txt',
    ]
    assert (out / 'classifier_classes.txt').read_text().split() == list(CLASSES)
    assert re.search(r'2/2: loss \d\.\d{3}', said)
    assert re.search(r'top-1 [01]\.\d{4} of 8 held-out scenes', said)


def test_the_weights_are_small_plain_half_precision_and_read_by_featmap(weights):
    assert weights.stat().st_size <= 2_000_000
    content = torch.load(weights, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    assert content['meta']['classes'] == CLASSES
    floating = [value for value in content['state_dict'].values() if value.is_floating_point()]
    assert {value.dtype for value in floating} == {torch.float16}
    assert all(torch.isfinite(value).all() for value in floating)
    read = load_checkpoint(weights)
    assert read.meta['classes'] == CLASSES
    assert set(read.state_dict) == set(content['state_dict'])


def test_training_learns_what_tells_classes_apart_and_repeats_itself():
    labels = torch.arange(64) % 2
    noise = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    inputs = (0.5 * noise + torch.where(labels == 0, -1.0, 1.0)[:, None, None, None]).half()
    first, again, other = (train(inputs, labels, iters, seed) for iters, seed in ((30, 0), (30, 0), (2, 1)))
    with torch.no_grad():
        assert (first(inputs.float()).argmax(1) == labels).all()
    assert not first.training
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, again.state_dict()[name])
    assert not torch.equal(first.stem[0].weight, other.stem[0].weight)


def test_changed_images_keep_their_form_and_mirror_half():
    inputs = torch.zeros(64, 3, 24, 24)
    inputs[..., :12] = 1.0  # the left half is bright
    torch.manual_seed(0)
    after = changed(inputs)
    assert after.shape == inputs.shape
    mirrored = after[..., :8].mean((1, 2, 3)) < after[..., 16:].mean((1, 2, 3))
    assert 16 <= mirrored.sum() <= 48
    assert len({round(float(value), 4) for value in after.mean((1, 2, 3))}) == 64


def test_measuring_again_gives_the_same_card(trained):
    out, _ = trained
    card = out / 'CLASSIFIER_CARD.md'
    before = card.read_text(encoding='utf-8')
    run_tool('--evaluate-only', '--held-out', 8, '--out', out)
    assert card.read_text(encoding='utf-8') == before
    assert '2 iterations of 32 images' in before
    assert '| training | 16 | 0 to 15 |' in before
    assert '| held out | 8 | 1000000 to 1000007 |' in before
    assert '{' not in before


def test_a_card_counts_what_was_found():
    confusion = [[10 if row == column else 0 for column in range(8)] for row in range(8)]
    confusion[1][1], confusion[1][0] = 6, 4
    card = classifier_card(
        WEIGHTS, torch.load(WEIGHTS, weights_only=True), settings(), Figures(0.95, 0.9, 0.5, confusion)
    )
    assert 'top-1 accuracy **95.00%** (76 of 80)' in card
    assert 'is 0.900 where it is right and 0.500 where it is wrong' in card
    assert '| kite | 4 | 6 |  |  |  |  |  |  | 60.0% |' in card


def test_the_shipped_card_is_of_the_shipped_weights_and_of_scenes_never_trained_on():
    card = CARD.read_text(encoding='utf-8')
    (share, right, count) = re.search(r'top-1 accuracy \*\*([\d.]+)%\*\* \((\d+) of (\d+)\)', card).groups()
    assert int(count) >= 1000
    assert float(share) >= 95
    assert float(share) == pytest.approx(100 * int(right) / int(count), abs=0.01)
    (last,) = re.search(r'^\| training \| \d+ \| 0 to (\d+) \|', card, re.M).groups()
    (first,) = re.search(r'^\| held out \| \d+ \| (\d+) to', card, re.M).groups()
    assert int(last) < int(first)
    training = torch.load(WEIGHTS, weights_only=True)['meta']['training']
    assert f'{training["iterations"]} iterations' in card
    assert f'training {training["seconds"] / 60:.1f}.' in card


def test_the_example_image_is_drawn_on_request(tmp_path):
    run_tool('--example-image', '--out', tmp_path)
    drawn, shipped = (np.asarray(Image.open(folder / 'object.jpg')).astype(int) for folder in (tmp_path, ROOT / 'demo'))
    # OpenCV's versions differ a little at the edges of shapes, and so do JPEG's encoders.
    assert drawn.shape == shipped.shape
    assert np.abs(drawn - shipped).mean() < 0.1
    assert np.abs(drawn - shipped).max() < 40


def settings():
    sizes = ((320, 208),)
    return {
        **{'batch': 32, 'lr': 2e-3, 'warmup': 100, 'decay': 0.05},
        **{'training_sizes': sizes, 'held_out_sizes': sizes, 'held_out_seed': 1_000_000},
    }
