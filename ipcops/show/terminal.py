"""The blocks of a report in colour, for a terminal. The only file of the tables that loads rich."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ipcops.core.layout import GAP, ObjectGrid, Para, laid_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipcops.core.layout import Block, Grid

STYLES = {
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "bold yellow",
    "low": "cyan",
    "info": "blue",
    "strong": "bold",
    "quiet": "dim",
    "command": "green",
    "plain": "",
}
WORDS = {"in-use": "green", "idle": "cyan", "orphan": "bold red", "unknown": "yellow"}


def pieces(blocks: Iterable[Block], width: int) -> Iterator[str]:
    """Yield *blocks* as text with the terminal's colours; NO_COLOR and TERM=dumb are obeyed."""
    for block in blocks:
        buffer = io.StringIO()
        console = Console(file=buffer, width=width, highlight=False, markup=False, emoji=False, force_terminal=True)
        if isinstance(block, Para):
            _para(console, block, width)
        else:
            grid = block.fitted(width) if isinstance(block, ObjectGrid) else block
            _grid(console, grid, width)
        yield buffer.getvalue()


def _para(console: Console, para: Para, width: int) -> None:
    text = Text.assemble(*((span.text, STYLES[span.style]) for span in para.spans))
    lines = text.wrap(console, max(20, width - para.indent - para.hang))
    if not lines:
        console.print()
    for number, line in enumerate(lines):
        line.rstrip()
        _line(console, Text(" " * (para.indent + (para.hang if number else 0))).append(line))


def _grid(console: Console, grid: Grid, width: int) -> None:
    headed = any(grid.headings)
    for number, cells in enumerate(laid_out(grid, width)):
        styles = ["bold" if headed and not number else WORDS.get(cell.strip(), "") for cell in cells]
        line = Text(GAP).join(map(Text, cells, styles))
        line.rstrip()
        _line(console, line)


def _line(console: Console, line: Text) -> None:
    console.print(line, no_wrap=True, crop=False, overflow="ignore")
