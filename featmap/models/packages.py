"""How packages that some configs need are installed, and the error that says so."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re

from featmap.errors import MissingPackageError

_REQUIREMENTS = {
    # OpenMMLab's own, by the scope that configs use
    'mmaction': 'mmaction2',
    'mmcls': 'mmpretrain',
    'mmcv': 'mmcv-lite==2.0.1',
    'mmdet': '"mmdet>=3.2,<4.0"',
    'mmdet3d': 'mmdet3d',
    'mmocr': 'mmocr',
    'mmpose': '"mmpose>=1.0"',
    'mmpretrain': 'mmpretrain',
    'mmrazor': '"mmrazor>=1.0"',
    # The stable 0.3 line of mmrotate is for MMDetection 2.
    'mmrotate': '"mmrotate>=1.0.0rc1"',
    'mmseg': 'mmsegmentation',
    'mmselfsup': 'mmselfsup',
    'mmtrack': 'mmtrack',
    'mmyolo': '"mmyolo>=0.6,<0.7"',
    # What single models and transforms of mmdet ask for
    'albumentations': 'albumentations',
    'cv2': 'opencv-python',
    'fairscale': 'fairscale',
    'imagecorruptions': 'imagecorruptions',
    'instaboostfast': 'instaboostfast',
    'lap': 'lapx',
    'lvis': 'git+https://github.com/lvis-dataset/lvis-api.git',
    'nltk': 'nltk',
    'panopticapi': 'git+https://github.com/cocodataset/panopticapi.git',
    'PIL': 'pillow',
    # setuptools 81 dropped pkg_resources, which MMEngine 0.10 finds packaged configs with.
    'pkg_resources': '"setuptools<81"',
    'skimage': 'scikit-image',
    'sklearn': 'scikit-learn',
    'timm': 'timm',
    'torchvision': 'torchvision',
    'transformers': 'transformers',
    'yaml': 'pyyaml',
}

# What the extra brings. Its mmcv-lite would overwrite a full mmcv, whose owner gets the packages one by one.
DETECTORS = ('mmdet', 'mmyolo', 'mmcv')
_EXTRA = '"featmap[mm]"'

# The same packages by the name that pip knows them by, e.g. 'scikit-image' or 'mmsegmentation'.
_MODULES = {
    requirement: module for module, requirement in _REQUIREMENTS.items() if re.fullmatch(r'[\w-]+', requirement)
}

_NAMED_BY = (
    re.compile(r"No module named '([\w.-]+)'"),
    # 'transformers is not installed, please install it by: …', 'Package lvis is not installed. …'
    re.compile(r'([\w-]+) is not installed'),
    # 'Please install fairscale with: pip install fairscale', 'Please run "pip install nltk" …'
    re.compile(r'pip install (?:-\S+ )*"?([A-Za-z][\w-]*)'),
)
_NOT_REGISTERED = re.compile(r'(\w+)\.\w+ is not in the')
_REGISTRY_SCOPE = re.compile(r'is not in the (\w+)::')


def package_of(name: str) -> str | None:
    """The command that installs a module, config scope or package, or None where none is known.

    Args:
        name: e.g. ``mmrotate``, ``skimage.measure`` or ``scikit-image``.
    """
    module = _module_of(name)
    requirement = _EXTRA if module in DETECTORS and not _has_full_mmcv() else _REQUIREMENTS.get(module)
    return f'pip install {requirement}' if requirement else None


def missing_package(name: str, wanted_by: str) -> MissingPackageError:
    """The error for a package that is not installed. It is returned, to be raised by the caller.

    Args:
        name: the missing module, scope or package.
        wanted_by: what needs it, as the start of a sentence: "the config 'mmrotate::…'".
    """
    root = name.partition('.')[0]
    command = package_of(name) or f'pip install {root}'
    return MissingPackageError(f"{wanted_by} needs '{root}', which is not installed; try: {command}")


def missing_name(error: BaseException) -> str | None:
    """The package whose absence an error is about, or None where it is about something else.

    Reads import errors, the errors that mmdet raises for optional packages, and MMEngine's
    "X is not in the mmpretrain::model registry". The errors it was raised from count as well.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        name = _named_in(current)
        if name is not None:
            return name
        current = current.__cause__ or current.__context__
    return None


def _has_full_mmcv() -> bool:
    try:
        importlib.metadata.version('mmcv')
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _module_of(name: str) -> str:
    return _MODULES.get(name, name.partition('.')[0])


def _named_in(error: BaseException) -> str | None:
    if isinstance(error, ModuleNotFoundError) and error.name:
        root = error.name.partition('.')[0]
        return root if importlib.util.find_spec(root) is None else None
    text = str(error)
    if isinstance(error, KeyError):
        patterns: tuple[re.Pattern[str], ...] = (_NOT_REGISTERED, _REGISTRY_SCOPE)
    elif isinstance(error, (ImportError, RuntimeError)):
        patterns = _NAMED_BY
    else:
        return None
    for pattern in patterns:
        match = pattern.search(text)
        if match and _is_missing(match.group(1)):
            return _module_of(match.group(1))
    return None


def _is_missing(name: str) -> bool:
    # Only known names: text that merely reads like a package must not send anyone to install it.
    module = _module_of(name)
    return module in _REQUIREMENTS and importlib.util.find_spec(module) is None
