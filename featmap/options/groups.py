"""Every option, declared once. The command line, configs, Python and the README's table follow from this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from featmap.options.declare import CALLER, CODE, COMMAND, option
from featmap.options.kinds import (
    ARRANGEMENT,
    BACKENDS,
    CHANNELS,
    CROP,
    FLAG,
    NORM,
    PANEL_SIZE,
    QUERY,
    REDUCTION,
    VISUALIZER,
    file,
    names,
    number,
    one_of,
    read_file,
    text,
    whole,
)
from featmap.options.panels import BARE, INTO_FILES, NO_GREY, NOT_IN_ROWS, PANEL_NAMES, in_panels
from featmap.options.rules import (
    CROP_WITH_BOXES,
    FOR_FOLDERS,
    LOSSY,
    OVER_IMAGE,
    SIMILAR_TO,
    THROUGH,
    WITH_BOXES,
    not_with_reducer,
    with_option,
    with_reducer,
)

_OWN_RANGE = not_with_reducer('pca', 'pca as planes', 'kmeans')
_OWN_COLORS = not_with_reducer('pca', 'kmeans', 'as_image')
_OVERLAY, _SCALED = in_panels('overlay'), in_panels('grey', 'heat', 'overlay')
_ONE_PANEL = not_with_reducer(
    'select_max', 'squeeze_mean', 'sum', 'pixel_max', 'mean_abs', 'l2', 'std', 'eigen', 'pca', 'kmeans', 'as_image',
    'similarity', because='which makes one panel of a map', in_figures=True,
)  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """What is looked at."""

    image: tuple[str, ...] = option(
        (), names('IMG', 'an image'), 'a file, a folder (recursive), a glob, an http(s) URL, or `-` for standard input',
        places=COMMAND, positional=True,
    )  # fmt: skip
    config: str = option(
        '', read_file('CONFIG'),
        'a config of OpenMMLab (a path, a scoped name such as `mmyolo::yolov5/…`, or the bare name of a packaged one), '
        '`timm:NAME`, `torchvision:NAME`, `hf:PATH-OR-NAME`, `file.py:factory`, `package.module:factory`, or a file of '
        '`torch.export`',
        places=COMMAND, positional=True,
    )  # fmt: skip
    checkpoint: str = option(
        '', read_file('CHECKPOINT'),
        'a path or URL, `pretrained` (`timm:`, `hf:`), or the name of weights (`torchvision:`); `none` builds with '
        'random weights and says so',
        places=COMMAND, positional=True,
    )  # fmt: skip
    max_pixels: int = option(
        200_000_000, whole('N', 'a whole number from 1 up', lambda number: number >= 1),
        'images of more pixels are not decoded, for a file of kilobytes can announce gigabytes', '200 million', CALLER,
    )  # fmt: skip


@dataclass(frozen=True)
class What:
    """What to draw."""

    target_layers: tuple[str, ...] = option(
        (), names('L', 'at least one layer name, such as neck'),
        'layers: `neck`, `backbone.stage4`, `neck.out_layers[2]`, `neck.out_layers.2`, patterns such as '
        '`backbone.stage*`; `type:Conv2d`, `backbone.type:*Block`: all of a class; `neck[0]` takes one element of an '
        'output', '`backbone`; of another model its stages, or the last block of a transformer',
    )  # fmt: skip
    channel_reduction: Any = option(
        'select_max', REDUCTION,
        'a reducer: `squeeze_mean`, `sum`, `select_max`, `pixel_max`, `mean_abs`, `l2`, `std`, `pca`, `eigen`, `nmf`, '
        '`kmeans`, `channels`, `similarity`, one of your own, or `None` for channels as they are', '`select_max`',
        rules=(SIMILAR_TO,),
    )  # fmt: skip
    topk: int = option(
        4,
        whole(
            'N', 'how many channels to draw (1 or more), or -1 to draw a map of 1 or 3 channels as it is',
            lambda n: n > 0 or n == -1,
        ),
        'with `--channel-reduction None`: the N most active channels; `-1` draws 1- or 3-channel maps as they are',
        '4', rules=(with_reducer(None, 'topk'),),
    )  # fmt: skip
    abs: bool = option(
        False, FLAG, 'rank channels by magnitude, so that negative answers count',
        rules=(with_reducer(None, 'topk', 'select_max'),),
    )  # fmt: skip
    channels: tuple[int | str, ...] | str | None = option(
        None, CHANNELS,
        'these channels: `3 17 40-47`, or `all`; of a head also by name, with the activation applied: `dog`, '
        '`objectness`, `dog:score` (class × objectness or centerness), `score` (of the best class)',
        rules=(with_reducer('channels'),),
    )  # fmt: skip
    components: int | None = option(
        None, whole('K', '1 or more', lambda n: n > 0), 'how many planes or groups `pca`, `nmf` and `kmeans` make',
        rules=(with_reducer('pca', 'nmf', 'kmeans'),),
    )  # fmt: skip
    query: tuple[float, float] | int | None = option(
        None, QUERY,
        'ask about this pixel of the image: how alike every cell is to the one under it (`similarity`, which this '
        'chooses), or what it attends to, of layers that hand out attention weights; `N` asks for object query N of a '
        'decoder',
    )  # fmt: skip
    basis: str | None = option(
        None,
        read_file(),
        'use the basis of `pca` in this file; `--save-basis` writes one',
        rules=(with_reducer('pca', panel='pca'),),
    )
    extra_tokens: int | None = option(
        None, whole('N', 'how many tokens, 0 or more', lambda n: n >= 0),
        'how many class, distillation and register tokens a transformer puts before those of its patches',
        'asked of the model',
    )  # fmt: skip
    overlay: str = option(
        'image', one_of('O', 'image', 'input'),
        'what maps and detections lie over: the `image`, or the network\'s `input`, as it sees it, whatever the '
        'preprocessing does; `--crop` and `--query` are in its pixels then', '`image`', rules=(OVER_IMAGE,),
    )  # fmt: skip
    placement: str = option(
        'nominal', one_of('P', 'nominal', 'calibrated'),
        '`calibrated` draws maps where the model looked, which mirror images of up to eight images of the run tell '
        '(three forwards each), and not on `nominal` cells, from which convolutions stray by up to half a cell',
        '`nominal`',
    )  # fmt: skip
    score_thr: float = option(0.3, number('S', 0, 1), 'draw detections from this score up', '0.3', rules=(WITH_BOXES,))
    gt: str | None = option(
        None, read_file(),
        'ground truth beside the detections, what was found, missed and false: a COCO `.json`, a YOLO `.txt`, or a '
        'folder of labels (YOLO, Pascal VOC, LabelMe, or one COCO file)', rules=(WITH_BOXES,),
    )  # fmt: skip
    boxes: bool = option(True, FLAG, 'no detections and no best classes; the forward ends at the last wanted layer')

    @property
    def reducing(self) -> tuple[Any, ...]:
        """All that a reducer is built from."""
        return self.channel_reduction, self.topk, self.abs, self.channels, self.components, self.basis, self.query

    @property
    def placing(self) -> tuple[Any, ...]:
        """What decides which outputs a forward shows the places of; a query makes layers put out more."""
        return self.target_layers, self.placement, type(self.query)


@dataclass(frozen=True)
class Look:
    """How it looks."""

    arrangement: tuple[int, int] | None = option(
        None, ARRANGEMENT, 'rows and columns for the channels of a map, also `2x3` and `"(2,3)"`', 'near-square',
        rules=(_ONE_PANEL, NOT_IN_ROWS, BARE),
    )  # fmt: skip
    panels: tuple[str, ...] = option(
        (), PANEL_NAMES,
        'a row of panels for each map (and plane): `grey` (the map as it is, in grey levels), `heat` (coloured, '
        'opaque), `overlay` (over the image), `pca` (its three leading components as colours)',
        'the overlay alone, no rows',
        rules=(NO_GREY,),
    )  # fmt: skip
    alpha: float | None = option(
        None, number('A', 0, 1), 'opacity of the heat, 0 to 1', '0.5, over a grey image 0.7', rules=(THROUGH, _OVERLAY)
    )
    colormap: str | None = option(
        None, text('NAME'), 'an OpenCV or matplotlib colour map', '`jet`, or `coolwarm` where `--symmetric`',
        rules=(_OWN_COLORS, in_panels('heat', 'overlay')),
    )  # fmt: skip
    background: str | None = option(
        None, one_of('B', 'image', 'grey', 'none'),
        'what is under the heat: the `image`, the image in `grey`, or `none`, over which the heat is opaque',
        '`image` under `jet` and other rainbows, else `grey`', rules=(_OVERLAY,),
    )  # fmt: skip
    panel_size: int | str | None = option(
        None, PANEL_SIZE, "the most pixels of a panel's longer side; `full` for the original's",
        '1280, or fewer where the picture would be over 8 MB',
    )  # fmt: skip
    crop: str | None = option(
        None, CROP,
        'zoom in: `X1,Y1,X2,Y2` in pixels of the image, or `box:3` for a detection (the first is 0) with half its '
        'length around it, `box:3:2` with twice',
        rules=(CROP_WITH_BOXES,),
    )  # fmt: skip
    interpolation: str = option(
        'linear', one_of('I', 'linear', 'nearest'), '`linear`, or `nearest` for the cells themselves', '`linear`'
    )
    grid: bool = option(False, FLAG, "draw the cells' borders, and say how large a cell is in the image")
    labels: bool = option(True, FLAG, 'no label strips above the panels')
    font: str | None = option(
        None,
        read_file(),
        'a font file for labels and tags; fonts of the system fill in for glyphs that it lacks',
        'DejaVu Sans',
    )


@dataclass(frozen=True)
class Scale:
    """What the colours stand for."""

    norm: str = option(
        'map', NORM,
        'what the colours span: `map` (own range), `layer`, `image`, `run` (shared), `LO,HI`, or percentiles `pLO,pHI`',
        '`map`', rules=(_OWN_RANGE, _SCALED),
    )  # fmt: skip
    symmetric: bool = option(
        False, FLAG, 'centre the colours on 0, under a diverging colour map', rules=(_OWN_RANGE, _SCALED)
    )
    colorbar: bool = option(False, FLAG, 'a colour bar below each panel', rules=(_OWN_COLORS, _SCALED, BARE))


@dataclass(frozen=True)
class Output:
    """Where it goes."""

    out_file: str | None = option(
        None, file(),
        'the one picture, exactly there; `.png` is added to a name without suffix; `-` for standard output',
        places=COMMAND,
    )  # fmt: skip
    out_dir: str | None = option(
        None, text('D', 'the path of a folder'), 'folder for several pictures, structure mirrored', '`output`',
        places=COMMAND,
    )  # fmt: skip
    format: str = option(
        'png', one_of('F', 'png', 'jpg', 'webp'), 'of the pictures in `--out-dir`: `png`, `jpg` or `webp`', '`png`',
        COMMAND, (FOR_FOLDERS,),
    )  # fmt: skip
    quality: int = option(
        95, whole('Q', 'a quality from 1 to 100', lambda q: 1 <= q <= 100), 'of `jpg` and `webp`, 1 to 100', '95',
        COMMAND, (LOSSY,),
    )  # fmt: skip
    split: bool = option(
        False, FLAG,
        'every panel in a file of its own instead of one picture, bare: `dog.backbone.stage4.overlay.png`, the image '
        'as `dog.original.png`; `dog.panels.json` says what each shows, and on which range',
        places=COMMAND, rules=(INTO_FILES,),
    )  # fmt: skip
    show: bool = option(False, FLAG, 'show each picture in a window', places=COMMAND)
    figure: str | None = option(None, file(), 'also a figure for a paper: `.pdf`, `.svg` or `.png`', places=COMMAND)
    dpi: float = option(
        200.0, number('N', 10, 2400), 'resolution of the figure', '200', COMMAND, (with_option('figure'),)
    )
    figure_width: float = option(
        7.0, number('IN', 1, 50), 'width of the figure in inches', '7', COMMAND, (with_option('figure'),)
    )
    figure_title: str | None = option(
        None, text('TEXT', 'a text'), 'title above the figure', places=COMMAND, rules=(with_option('figure'),)
    )
    font_size: float | None = option(
        None, number('PT', 5, 24), 'size of the labels of the figure in points', '7', COMMAND, (with_option('figure'),)
    )
    figure_style: tuple[str, ...] = option(
        (), names('STYLE', 'a style of matplotlib, or a file', reads_file=True),
        'matplotlib styles for the fonts and colours of the figure: names or files', places=COMMAND,
        rules=(with_option('figure'),),
    )  # fmt: skip
    columns: int = option(
        6, whole('N', '1 or more', lambda n: n > 0), 'the most panels side by side in the figure', '6', COMMAND,
        (with_option('figure'), NOT_IN_ROWS),
    )  # fmt: skip
    save_maps: str | None = option(
        None, file(), 'also the reduced maps: `.npz` or `.safetensors`, with a `.json` beside it', places=COMMAND
    )
    save_features: str | None = option(None, file(), 'also the full features, in the same form', places=COMMAND)
    save_basis: str | None = option(
        None, file(), 'also the basis of `pca`, as `.npz`', places=COMMAND, rules=(with_reducer('pca'),)
    )
    vis_backends: tuple[Any, ...] = option(
        (), BACKENDS,
        'MMEngine vis backends that get each picture too, such as `TensorboardVisBackend`; of several layers one each, '
        'under `IMAGE/LAYER`; files go to `vis_data/` in `--out-dir`',
    )  # fmt: skip
    visualizer: dict[str, Any] = option(
        {'type': 'FeatMapVisualizer'}, VISUALIZER,
        '`dict(type=...)` of a visualizer of your own, or further arguments', places=CODE,
    )  # fmt: skip
    preview_model: bool = option(False, FLAG, 'print the layer tree, measured on the image, and stop', places=COMMAND)
    preview_depth: int | str | None = option(
        None, whole('N', '1 or more, or all', lambda levels: levels > 0, 'all'),
        'how many levels of the tree to print, or `all`',
        'as many as fit 100 lines; with `--target-layers` `all` of their parts', COMMAND,
        (with_option('preview_model'),),
    )  # fmt: skip
