"""Which row of an attention matrix is asked about, and where its keys stand in the image."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from featmap.attention.reading import ATTENTION, Attended, Matrix, attended, matrices_in, numbered
from featmap.errors import LayerError
from featmap.geometry import Query, Spot
from featmap.layouts import Map
from featmap.meaning import Meaning
from featmap.wording import option as written

_CLASS_TOKENS = ('cls_token', 'class_token', 'class_embedding', 'cls_embed')
_WITH_CLASS = (1, 2, 5)  # tokens before the cells of which one is the class token: alone, + distillation, + 4 registers
_ACROSS = ('cross', 'encoder_attn', 'multihead_attn')  # parts of the names of attention between queries and cells

Unfold = Callable[[Tensor, str], list[Map]]
"""Tokens (1, n, C), and what to add to their path, to maps. Raises LayerError where they form no grid."""


@dataclass(frozen=True)
class Rows:
    """Reads the row that is asked about out of a layer's attention weights.

    Attributes:
        model: The model.
        layer: The layer's name.
        query: X,Y in pixels of the original, the number of an object query, or None for the class token.
        unfold: Places tokens.
        spot_in: Given a map of tokens, the cell of it that is asked about.
    """

    model: nn.Module
    layer: str
    query: Query | None
    unfold: Unfold
    spot_in: Callable[[Map], Spot]

    def maps(
        self, output: Any, path: Sequence[str], input_shape: tuple[int, int], plain: Callable[[], list[Map]]
    ) -> list[Map]:
        """The maps in what the layer put out: features, and of attention weights what is asked about.

        Args:
            output: A tensor or any nesting of tuples, lists and dicts, for one image.
            path: Keys of the wanted part; all of it by default.
            input_shape: Height and width of the network input.
            plain: Finds the maps of features. Raises LayerError where there are none.

        Raises:
            LayerError: where there is neither.
        """
        matrices = matrices_in(output, path, input_shape)
        if not matrices:
            return plain()
        found: list[Map] = []
        reasons: list[str] = []
        if not self._in_decoder:  # whose features are those of object queries, however many they are
            with contextlib.suppress(LayerError):  # there may be nothing but weights
                found += [item for item in plain() if all(item.path != matrix.path for matrix in matrices)]
        for matrix in matrices:
            try:
                found += self.read(matrix)
            except LayerError as error:
                reasons.append(str(error))
        if not found:
            raise LayerError('; '.join(reasons[:3]))
        return found

    def read(self, matrix: Matrix) -> list[Attended]:
        """The maps of what is asked about: one, or one a level.

        Raises:
            LayerError: where the keys have no place in the image, or nothing that could be asked about is there.
        """
        _, rows, keys = (int(extent) for extent in matrix.weights.shape)
        what = f'attention{matrix.path and " " + matrix.path} of {rows} queries over {keys} keys'
        if self._in_decoder and rows == keys and not self._across:
            raise LayerError(f'{self.layer} puts out {what}, which are object queries and have no place in the image')
        try:
            # Of tokens among themselves, rows are what is traced.
            within = rows == keys and not self._across
            maps = self.unfold(numbered(matrix.weights, -2 if within else -1), f'{matrix.path}[keys]')
        except LayerError as error:
            raise LayerError(f'{self.layer} puts out {what}, whose place is not known: {error}') from error
        numbers = [found.features[0, 0].round().long() for found in maps]
        row, name = self._row(matrix, maps, numbers, what)
        heads = int(matrix.weights.shape[0])
        meaning = Meaning(name, attributes=() if matrix.averaged else tuple(f'head {n}' for n in range(heads)))
        return [
            Attended(
                matrix.path + found.path,
                found.features.expand(1, heads, -1, -1) if row is None else attended(matrix.weights, row, each),
                found.tokens,
                meaning=meaning,
                averaged=matrix.averaged,
                numbers=each,
                matrix=matrix.weights.clone() if row is None else None,
            )
            for found, each in zip(maps, numbers)
        ]

    @property
    def _in_decoder(self) -> bool:
        return 'decoder' in self.layer.split('.')

    @property
    def _across(self) -> bool:
        return any(word in part for part in self.layer.split('.')[-2:] for word in _ACROSS)

    def _row(self, matrix: Matrix, maps: list[Map], numbers: list[Tensor], what: str) -> tuple[int | None, str]:
        """The number of the row, None where it waits for boxes, and what a label calls it."""
        rows, keys = int(matrix.weights.shape[1]), int(matrix.weights.shape[2])
        if rows == 1:
            return 0, f'{ATTENTION}its one query'
        if rows == keys and not self._across:
            return self._of_token(maps, numbers, what)
        if not self._in_decoder and not isinstance(self.query, int):
            try:
                own = self.unfold(numbered(matrix.weights, -2), f'{matrix.path}[rows]')
            except LayerError:
                pass  # rows that are no cells
            else:
                return self._of_token(own, [found.features[0, 0].round().long() for found in own], what)
        if self.query is None:
            raise LayerError(
                f'{self.layer} puts out {what}: {written("query")} X,Y asks for the object query whose box is there, '
                f'{written("query")} N for one by its number'
            )
        if not isinstance(self.query, int):
            return None, f'{ATTENTION}the object query'
        if self.query >= rows:
            raise LayerError(f'{self.layer} puts out {what}: there is no query {self.query}, expected 0 to {rows - 1}')
        return self.query, f'{ATTENTION}object query {self.query}'

    def _of_token(self, maps: list[Map], numbers: list[Tensor], what: str) -> tuple[int, str]:
        if isinstance(self.query, int):
            raise LayerError(
                f'{self.layer} puts out {what}, which are tokens of the image: {written("query")} X,Y asks for one'
            )
        if self.query is None:
            before = min(int(each.min()) for each in numbers)
            if before == 0 or not (before in _WITH_CLASS or _has_class_token(self.model)):
                raise LayerError(
                    f'{self.layer} puts out {what}, none of them a class token: {written("query")} X,Y asks for the '
                    'token at that pixel'
                )
            return 0, f'{ATTENTION}the class token'
        finest = max(range(len(maps)), key=lambda index: numbers[index].numel())
        spot = self.spot_in(maps[finest])
        name = f'{ATTENTION}token {spot.column},{spot.row} at {spot.pixel}'
        return int(numbers[finest][spot.row, spot.column]), name


def _has_class_token(model: nn.Module) -> bool:
    return any(name.rpartition('.')[2] in _CLASS_TOKENS for name, _ in model.named_parameters())
