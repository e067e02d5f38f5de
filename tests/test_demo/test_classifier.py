"""The classifier in demo/: a network of one's own, in plain PyTorch, that knows what it was trained on."""

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tests.test_tools  # noqa: F401  finds demo_scenes
from featmap import FeatMapInferencer

from demo_scenes import CLASSES  # isort: skip
from demo_scenes.single import draw_single  # isort: skip

DEMO = Path(__file__).resolve().parents[2] / 'demo'
SOURCE = DEMO / 'classifier.py'
# Neither trained on nor measured for the card.
SEED = 2_000_000
SIZES = [(320, 200), (240, 320), (256, 256)]


@pytest.fixture(scope='module')
def demo():
    """The file, imported as featmap would, without a place in ``sys.modules``."""
    spec = importlib.util.spec_from_file_location('demo_classifier_under_test', SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def model(demo):
    model = demo.classifier()
    model.load_state_dict(torch.load(DEMO / 'classifier.pth', weights_only=True)['state_dict'])
    return model.eval()


def stages_of(model, inputs):
    """The output of each stage, by a forward hook."""
    maps = []
    hooks = [stage.register_forward_hook(lambda *args: maps.append(args[2])) for stage in model.stages]
    with torch.no_grad():
        logits = model(inputs)
    for hook in hooks:
        hook.remove()
    return maps, logits


def peak_in_original(each):
    """Where in the original the middle of the brightest cell lies, x and y."""
    row, column = np.unravel_index(each.values[0].argmax(), each.values[0].shape)
    (sy, sx), (oy, ox) = each.stride, each.offset
    return each.geometry.to_image((column + 0.5 + ox) * sx, (row + 0.5 + oy) * sy)


def test_the_shipped_weights_name_freshly_drawn_objects(demo, model):
    drawn = [draw_single(SEED + k, SIZES[k % 3]) for k in range(64)]
    with torch.no_grad():
        logits = model(torch.stack([demo.preprocess(Image.fromarray(image)) for image, _, _ in drawn]))
    labels = torch.tensor([label for _, _, label in drawn])
    assert (logits.argmax(1) == labels).float().mean() >= 0.95


def test_the_example_is_named_and_the_last_stage_lights_its_object(demo, model):
    from train_demo_classifier import EXAMPLE

    _, box, label = draw_single(*EXAMPLE)
    image = Image.open(DEMO / 'object.jpg')
    assert image.width >= 1.5 * image.height
    assert abs((box[0] + box[2]) / 2 - image.width / 2) > 0.1 * image.width
    maps, logits = stages_of(model, demo.preprocess(image)[None])
    assert logits.softmax(1)[0, label] > 0.9
    scale = demo.RESIZE / image.height
    x1, y1, x2, y2 = ((box - [image.width / 2, image.height / 2] * 2) * scale + demo.CROP / 2) / 16
    heat = maps[-1][0].mean(0).numpy()
    centres = np.arange(12) + 0.5
    inside = ((centres > y1) & (centres < y2))[:, None] & ((centres > x1) & (centres < x2))[None]
    assert inside.ravel()[heat.argmax()]
    assert heat[inside].mean() > 2 * heat[~inside].mean()


def test_featmap_names_the_object_and_puts_the_heat_on_it():
    """As the README has it: factory, weights and preprocessing from the file, the place measured."""
    from train_demo_classifier import EXAMPLE

    _, box, label = draw_single(*EXAMPLE)
    inferencer = FeatMapInferencer(
        f'{SOURCE}:classifier',
        DEMO / 'classifier.pth',
        preprocess='preprocess',
        target_layers='stages.3',
        channel_reduction='squeeze_mean',
        device='cpu',
    )
    result = inferencer(DEMO / 'object.jpg')
    found = result.predictions
    assert found.class_name(int(found.classification.labels[0])) == CLASSES[label]
    assert found.classification.scores[0] > 0.9
    (each,) = result.maps
    assert each.shape == (128, 12, 12)
    assert each.note == ''
    # 640 × 400 becomes 333 × 208, of which 70 columns and 8 rows are cut off before the first that is kept.
    assert each.geometry.to_image(0, 0) == pytest.approx((70 / 333 * 640, 8 / 208 * 400), abs=0.5)
    assert each.geometry.to_image(192, 192) == pytest.approx((262 / 333 * 640, 200 / 208 * 400), abs=0.5)
    x, y = peak_in_original(each)
    assert box[0] < x < box[2]
    assert box[1] < y < box[3]


def test_each_stage_has_the_stated_map(demo, model):
    maps, logits = stages_of(model, torch.zeros(2, 3, demo.CROP, demo.CROP))
    assert [tuple(each.shape) for each in maps] == [(2, 16, 96, 96), (2, 32, 48, 48), (2, 64, 24, 24), (2, 128, 12, 12)]
    assert logits.shape == (2, 8)


def test_the_factory_takes_a_width_and_a_number_of_classes(demo):
    model = demo.classifier(width=4, num_classes=3).eval()
    assert model.head.out_features == 3
    assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 3)
    assert model.stages[3].convs[0].out_channels == 32


def test_every_name_of_the_classes_is_the_same(demo, model):
    assert tuple(demo.CLASSES) == tuple(model.classes) == CLASSES
    assert (DEMO / 'classifier_classes.txt').read_text(encoding='utf-8').splitlines() == list(CLASSES)
    assert torch.load(DEMO / 'classifier.pth', weights_only=True)['meta']['classes'] == CLASSES


@pytest.mark.parametrize('size', [(640, 400), (400, 640), (208, 208), (30, 20), (1, 1), (500, 3)])
@pytest.mark.parametrize('mode', ['RGB', 'L', 'RGBA'])
def test_the_preprocessing_keeps_the_centre_of_any_image(demo, size, mode):
    inputs = demo.preprocess(Image.new('RGB', size, (140, 140, 140)).convert(mode))
    assert inputs.shape == (3, 192, 192)
    assert inputs.dtype == torch.float32
    np.testing.assert_allclose(inputs, (140 / 255 - demo.MEAN) / demo.STD, atol=1e-5)


def test_the_preprocessing_cuts_the_middle_square_out(demo):
    pixels = np.zeros((208, 416, 3), dtype=np.uint8)
    pixels[8:200, 112:304] = 255  # the middle 192 pixels of both axes
    inside = demo.preprocess(Image.fromarray(pixels))
    assert inside.min() == inside.max() == pytest.approx((1 - demo.MEAN) / demo.STD)


def test_a_mirrored_input_gives_the_mirrored_map_of_the_same_weights_mirrored(demo, model):
    """Every layer is centred: with mirrored kernels, the mirror image's maps are the mirrored maps, to the pixel."""
    mirrored = demo.classifier().eval()
    state = model.state_dict()
    mirrored.load_state_dict({name: value.flip(-1) if value.ndim == 4 else value for name, value in state.items()})
    inputs = torch.randn(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    for straight, other in zip(stages_of(model, inputs)[0], stages_of(mirrored, inputs.flip(-1))[0]):
        np.testing.assert_allclose(straight, other.flip(-1), rtol=1e-3, atol=1e-3)


def test_the_file_is_short_and_asks_for_nothing_but_pytorch_numpy_and_pillow():
    source = SOURCE.read_text(encoding='utf-8')
    assert len(source.splitlines()) <= 100
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition('.')[0])
    assert imported <= {'__future__', 'numpy', 'torch', 'PIL'}
