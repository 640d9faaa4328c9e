"""What a page of text is made of, and the plain way to show it.

The agent prints plain text; ``ipcops/show`` prints the same blocks in colour on a terminal.
"""

from __future__ import annotations

from typing import Iterable, Iterator, List, Sequence, Tuple, Union

from .tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .columns import Show

LEAST_WHY = 24
GAP = "  "


class Span(NamedTuple):
    """A piece of text and what it is: a severity, ``strong``, ``quiet`` or ``plain``."""

    text: str
    style: str = "plain"


class Para(NamedTuple):
    """Running text, indented; its further lines hang in deeper."""

    spans: Tuple[Span, ...]
    indent: int = 0
    hang: int = 0


class Grid(NamedTuple):
    """A table: headings, rows of text, and which columns are aligned right."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[bool]


BLANK = Para(())


def printable(text: str) -> str:
    """Return *text* with everything that a terminal would obey, or cannot show, escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    number = ord(one)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no UTF-8 (PEP 383)
        return "\\x%02x" % (number - 0xDC00)
    return one.encode("unicode_escape", "backslashreplace").decode("ascii")


def para(text: str, style: str = "plain", indent: int = 0, hang: int = 0) -> Para:
    """Return one style of running text, escaped."""
    return Para((Span(printable(text), style),), indent, hang)


class ObjectGrid(NamedTuple):
    """A table whose optional columns appear as the width allows."""

    columns: Sequence[Show]
    rows: Sequence[Sequence[str]]

    def fitted(self, width: int) -> Grid:
        """Return the table for a width in characters."""
        widths = [
            max([len(column.heading)] + [len(row[at]) for row in self.rows]) for at, column in enumerate(self.columns)
        ]
        kept = [at for at, column in enumerate(self.columns) if not column.optional]
        used = sum(widths[at] + len(GAP) for at in kept[:-1]) + LEAST_WHY
        for at in sorted((at for at, column in enumerate(self.columns) if column.optional), key=self._order):
            if used + widths[at] + len(GAP) > width:
                break
            used += widths[at] + len(GAP)
            kept.append(at)
        kept.sort()
        return Grid(
            [self.columns[at].heading for at in kept],
            [[row[at] for at in kept] for row in self.rows],
            [self.columns[at].right for at in kept],
        )

    def _order(self, at: int) -> int:
        return self.columns[at].optional


Block = Union[Para, Grid, ObjectGrid]


def plain(blocks: Iterable[Block], width: int = 80) -> Iterator[str]:
    """Yield the lines of *blocks*, each with its line end, at most *width* wide where words allow."""
    for block in blocks:
        if isinstance(block, Para):
            yield from _plain_para(block, width)
        else:
            grid = block.fitted(width) if isinstance(block, ObjectGrid) else block
            for cells in laid_out(grid, width):
                yield GAP.join(cells).rstrip() + "\n"


def _plain_para(para: Para, width: int) -> Iterator[str]:
    indent, line, gap = para.indent, "", ""
    for word in "".join(span.text for span in para.spans).split(" "):
        if not word:  # one more blank
            gap += " "
            continue
        if indent + len(line) + len(gap) + len(word) > width:
            gap = ""
            if line:
                yield " " * indent + line + "\n"
                indent, line = para.indent + para.hang, ""
        line += gap + word
        gap = " "
    yield (" " * indent + line if line else "") + "\n"


def laid_out(grid: Grid, width: int) -> Iterator[List[str]]:
    """Yield the lines of a table, headings first, as padded cells; the last one takes what the width leaves."""
    rows = [grid.headings, *grid.rows] if any(grid.headings) else grid.rows
    if not rows:
        return
    widths = [max(len(row[at]) for row in rows) for at in range(len(grid.headings))]
    widths[-1] = max(1, min(widths[-1], width - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)))
    for row in rows:
        cells = [
            text.rjust(room) if right else text.ljust(room) for text, room, right in zip(row, widths, grid.right)
        ]
        if len(cells[-1]) > widths[-1]:
            cells[-1] = cells[-1][: widths[-1] - 1] + "…"
        yield cells
