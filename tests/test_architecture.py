"""What the house promises: rooms import from lower floors only, and some things are not done anywhere."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'featmap'
MODULES = sorted(PACKAGE.rglob('*.py'))

# Lowest first; rooms on one line share a floor and may import each other.
FLOORS = [
    ['version', 'escaping', 'file_names', 'png', 'notebook', 'wording'],
    ['errors'],
    ['arrays', 'schema'],
    ['download'],
    ['registry'],
    ['norm', 'crop'],
    ['options'],
    ['geometry', 'masks', 'classification', 'tokens'],
    ['structures'],
    ['answers', 'explanation', 'fusing'],
    ['meaning', 'matching'],
    ['layer_types'],
    ['layers'],
    ['layouts'],
    ['tracing'],
    ['calibration'],
    ['placement'],
    ['attention'],
    ['recorder', 'gradients'],
    ['reducers'],
    ['reduced'],
    ['rendering'],
    ['sheets'],
    ['singles'],
    ['drawer'],
    ['explained'],
    ['vis_backends'],
    ['visualizer'],
    ['vis_logs'],
    ['models'],
    ['layer_tree'],
    ['default_layers', 'folding'],
    ['ground_truth'],
    ['decoding'],
    ['reading'],
    ['sources'],
    ['images'],
    ['writing'],
    ['sinks'],
    ['split'],
    ['figure'],
    ['stored_maps', 'stored_results', 'stored_explanations'],
    ['sidecar'],
    ['storage'],
    ['results'],
    ['asked', 'unfolded', 'explained_layers'],
    ['targets'],
    ['perturbing'],
    ['faithfulness'],
    ['explainers'],
    ['explained_maps'],
    ['explaining'],
    ['explained_results'],
    ['sanity'],
    ['extractor'],
    ['building', 'learning'],
    ['inferencer'],
    ['visualizing'],
    ['preview'],
    ['extras'],
    ['command'],
    ['cli'],
    ['__main__'],
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
EXEMPT = {'__init__'}  # its names load on first use


def room_of(path: Path) -> str:
    """The first part below the package: ``featmap/reducers/base.py`` is in the room ``reducers``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'), filename=str(path))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ('TYPE_CHECKING', 'typing.TYPE_CHECKING')


def running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that can run: not what stands under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            for other in child.orelse:
                yield other
                yield from running_nodes(other)
            continue
        yield child
        yield from running_nodes(child)


def imported(source: ast.Module, package: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, function-level ones too; ``package`` resolves relative ones."""
    for node in running_nodes(source):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package.split('.')[: len(package.split('.')) - node.level + 1] if node.level else []
            name = '.'.join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f'{name}.{alias.name}'
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith('import_module') and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def package_of(path: Path) -> str:
    return '.'.join(path.relative_to(ROOT).parent.parts)


def climbs(room: str, source: ast.Module, package: str) -> list[str]:
    """Imports of a room that go up a floor."""
    found = []
    for line, name in imported(source, package):
        parts = name.split('.')
        if parts[0] != 'featmap' or len(parts) < 2 or parts[1] == '__version__':
            continue
        if parts[1] not in FLOOR_OF:
            found.append(f'line {line}: {name} is in no room of the plan')
        elif FLOOR_OF[parts[1]] > FLOOR_OF[room]:
            found.append(f'line {line}: {room} imports {name} from a floor above')
    return found


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_goes_up_a_floor(path):
    room = room_of(path)
    if room in EXEMPT:
        return
    assert room in FLOOR_OF, f'{room} has no floor: add it to the plan'
    assert climbs(room, parse(path), package_of(path)) == []


@pytest.mark.parametrize(
    ('room', 'code', 'up'),
    [
        ('geometry', 'from featmap.errors import GeometryError', False),
        ('errors', 'from featmap.version import __version__', False),
        ('geometry', 'from featmap.structures import FeatureMap', True),
        ('geometry', 'import featmap.structures', True),
        ('geometry', 'from featmap import structures', True),
        ('geometry', 'from .structures import FeatureMap', True),
        ('geometry', 'def f():\n    from featmap.models.openmmlab.config import load', True),
        ('geometry', "import importlib\nimportlib.import_module('featmap.models')", True),
        ('geometry', 'from featmap.attic import x', True),
        ('geometry', 'if TYPE_CHECKING:\n    from featmap.structures import FeatureMap', False),
        ('geometry', 'if TYPE_CHECKING:\n    pass\nelse:\n    from featmap.structures import FeatureMap', True),
        ('cli', 'def main():\n    from featmap.command import run', False),
    ],
)
def test_the_import_reader_sees(room, code, up):
    assert bool(climbs(room, ast.parse(code), 'featmap')) is up


def test_relative_imports_resolve_to_their_package():
    source = ast.parse('from .base import a\nfrom ..errors import b\nfrom . import c')
    names = [name for _, name in imported(source, 'featmap.reducers')]
    assert names == ['featmap.reducers.base.a', 'featmap.errors.b', 'featmap.reducers.c']


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_their_room_imports_the_detector_packages(path):
    if path.is_relative_to(PACKAGE / 'models' / 'openmmlab'):
        return
    detectors = {'mmdet', 'mmyolo', 'mmcv'}
    assert [name for _, name in imported(parse(path), package_of(path)) if name.split('.')[0] in detectors] == []


def code_evaluated(source: ast.Module) -> list[int]:
    """Lines that call eval or exec."""
    calls = (node for node in ast.walk(source) if isinstance(node, ast.Call))
    return [
        call.lineno for call in calls if ast.unparse(call.func) in ('eval', 'exec', 'builtins.eval', 'builtins.exec')
    ]


def errors_swallowed(source: ast.Module) -> list[int]:
    """Lines of handlers that catch everything and do nothing."""
    lines = []
    for node in ast.walk(source):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            broad = any(kind is None or ast.unparse(kind) in ('Exception', 'BaseException') for kind in kinds)
            idle = all(
                isinstance(step, (ast.Pass, ast.Continue))
                or (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
                for step in node.body
            )
            if broad and idle:
                lines.append(node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ('suppress', 'contextlib.suppress'):
            broad = any(ast.unparse(kind) in ('Exception', 'BaseException') for kind in node.args)
            lines.extend([node.lineno] * broad)
    return lines


SHIPPED = sorted(path for folder in ('featmap', 'demo', 'tools') for path in (ROOT / folder).rglob('*.py'))


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_evaluated_and_no_error_is_swallowed(path):
    source = parse(path)
    assert code_evaluated(source) == []
    assert errors_swallowed(source) == []


@pytest.mark.parametrize(
    ('code', 'evaluated', 'swallowed'),
    [
        ("eval('1')", [1], []),
        ("x = 1\nexec('x')", [2], []),
        ('model.eval()', [], []),
        ('try:\n    x()\nexcept:\n    pass', [], [3]),
        ('try:\n    x()\nexcept Exception:\n    ...', [], [3]),
        (
            'for y in z:\n    try:\n        x()\n    except (OSError, BaseException) as error:\n        continue',
            [],
            [4],
        ),
        ('with suppress(Exception):\n    x()', [], [1]),
        ('try:\n    x()\nexcept OSError:\n    pass', [], []),
        ('try:\n    x()\nexcept Exception as error:\n    print(error)', [], []),
    ],
)
def test_the_code_reader_sees(code, evaluated, swallowed):
    assert code_evaluated(ast.parse(code)) == evaluated
    assert errors_swallowed(ast.parse(code)) == swallowed


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text(encoding='utf-8').splitlines()) <= 320


def unions_that_run(tree: ast.AST) -> list[int]:
    """The lines of types with ``|`` that are no annotations, so that Python 3.9 evaluates them and fails."""
    values = [node.value for node in ast.walk(tree) if isinstance(node, (ast.Assign, ast.Expr))]
    inside = [node.slice for value in values for node in ast.walk(value) if isinstance(node, ast.Subscript)]
    inside += [
        node.args[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'isinstance' and len(node.args) == 2
    ]
    unions = [node for each in inside for node in ast.walk(each) if isinstance(node, ast.BinOp)]
    return sorted({node.lineno for node in unions if _is_of_types(node)})


def _is_of_types(node: ast.BinOp) -> bool:
    """Whether it joins a class or None by ``|``, and not numbers."""
    sides = [getattr(side, 'id', getattr(side, 'value', '')) for side in (node.left, node.right)]
    classes = any(side is None or (isinstance(side, str) and side[:1].isupper()) for side in sides)
    return isinstance(node.op, ast.BitOr) and classes


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_types_are_none_that_python_3_9_cannot_evaluate(path):
    assert unions_that_run(ast.parse(path.read_text(encoding='utf-8'))) == []


@pytest.mark.parametrize(
    ('code', 'lines'),
    [
        ('A = tuple[B | None, ...]', [1]),
        ('\nisinstance(x, B | C)', [2]),
        ('a: tuple[B | None] = ()', []),
        ('def f(a: B | None) -> B | C: ...', []),
        ('flags = A | B', []),
        ('x = y[a | b]', []),
    ],
)
def test_the_reader_of_unions_sees(code, lines):
    assert unions_that_run(ast.parse(code)) == lines


def skipped_for_nothing(tree: ast.AST) -> list[int]:
    """The lines that skip a test without saying why, and where it does run."""
    kinds = ('skip', 'skipif', 'importorskip', 'xfail')
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in kinds:
            values = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == 'reason')]
            said = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
            if not any('; runs ' in text for text in said):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize('path', sorted((ROOT / 'tests').rglob('test_*.py')), ids=lambda path: path.stem)
def test_what_skips_a_test_says_where_it_runs(path):
    assert skipped_for_nothing(ast.parse(path.read_text(encoding='utf-8'))) == []


@pytest.mark.parametrize(
    ('code', 'lines'),
    [
        ("pytest.skip('slow')", [1]),
        ("@pytest.mark.skipif(x, reason='no y')\ndef f(): ...", [1]),
        ("pytest.importorskip('y')", [1]),
        ("@pytest.mark.skipif(x, reason='no y; runs where y is')\ndef f(): ...", []),
    ],
)
def test_the_reader_of_skips_sees(code, lines):
    assert skipped_for_nothing(ast.parse(code)) == lines


def test_the_design_names_every_room():
    design = (ROOT / 'docs' / 'design.md').read_text(encoding='utf-8')
    assert [room for room in FLOOR_OF if f'`{room}.py`' not in design and f'`{room}/`' not in design] == []


def test_the_first_steps_import_nothing_heavy():
    modules = ['featmap', 'featmap.cli', 'featmap.options', 'featmap.errors']
    heavy = ['torch', 'numpy', 'mmengine', 'cv2', 'matplotlib', 'PIL', 'mmdet', 'mmyolo', 'mmcv']
    code = f'import sys, {", ".join(modules)}; print([name for name in {heavy} if name in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == '[]'
