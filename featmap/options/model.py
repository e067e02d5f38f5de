"""The options that say how a model is built, fed and run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from featmap.options.declare import CALLER, COMMAND, option
from featmap.options.kinds import CLASSES, FLAG, FUNCTION, OVERRIDES, SIZE, numbers, one_of, text
from featmap.options.rules import without_option

_DECLARED = without_option('preprocess')


@dataclass(frozen=True)
class Model:
    """The model."""

    device: str | None = option(
        None, text('D'), 'such as `cpu` or `cuda:1`', '`cuda:0` where there is one, else `cpu`', CALLER
    )
    amp: bool = option(False, FLAG, 'run the network in half precision; statistics are float32')
    cfg_options: Any = option((), OVERRIDES, 'override the config: `model.test_cfg.score_thr=0.1`', places=CALLER)
    trust_checkpoint: bool = option(
        False, FLAG, 'load a checkpoint that could run code; only for files from a source that you trust',
        places=CALLER,
    )  # fmt: skip
    model_args: Any = option((), OVERRIDES, 'arguments of the factory: `width=32 depths=(2,2)`', places=CALLER)
    preprocess: Any = option(
        None, FUNCTION,
        'a function from an image (PIL, or an RGB array) to the network input: its name in the file of the model, '
        '`file.py:function` or `package.module:function`', 'as the next four say', CALLER,
    )  # fmt: skip
    input_size: tuple[int, int] | None = option(
        None, SIZE, 'height and width of the network input, or one number for both', "the model's own, else 224",
        CALLER,
    )  # fmt: skip
    resize: str | None = option(
        None, one_of('R', 'letterbox', 'stretch', 'shorter', 'center-crop'),
        'how an image is brought to that: whole and padded, stretched, by its shorter side, or by that and cropped; '
        'beside `--preprocess` and `--input-size` it says what that does', '`letterbox`', CALLER,
    )  # fmt: skip
    mean: tuple[float, ...] | None = option(
        None, numbers('M', 'numbers, one for each channel'), 'what is subtracted, of values up to 1, or up to 255',
        "ImageNet's", CALLER, (_DECLARED,),
    )  # fmt: skip
    std: tuple[float, ...] | None = option(
        None, numbers('S', 'numbers above 0, one for each channel', lambda value: value > 0),
        'what that is divided by', "ImageNet's", CALLER, (_DECLARED,),
    )  # fmt: skip
    classes: Any = option(
        None, CLASSES, 'names of the classes: a file of JSON or of lines of text', "the model's own", CALLER
    )
    debug: bool = option(False, FLAG, 'show warnings, and the traceback of an error', places=COMMAND)
