"""The blocks of a report in colour, for a terminal. The only file of the tables that loads rich."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ipcops.core.text import Grid, ObjectGrid, Para

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipcops.core.text import Block

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
            console.print(_table(grid))
        yield buffer.getvalue()


def _para(console: Console, para: Para, width: int) -> None:
    text = Text.assemble(*((span.text, STYLES[span.style]) for span in para.spans))
    lines = text.wrap(console, max(20, width - para.indent - para.hang))
    if not lines:
        console.print()
    for number, line in enumerate(lines):
        console.print(Text(" " * (para.indent + (para.hang if number else 0))).append(line), no_wrap=True, crop=False)


def _table(grid: Grid) -> Table:
    headed = any(grid.headings)
    table = Table(box=None, pad_edge=False, show_header=headed, header_style="bold", padding=(0, 2, 0, 0))
    for at, heading in enumerate(grid.headings):
        last = at == len(grid.headings) - 1
        table.add_column(
            heading,
            justify="right" if grid.right[at] else "left",
            no_wrap=True,
            overflow="ellipsis" if last else "ignore",
            min_width=None if last else max(len(heading), *(len(row[at]) for row in grid.rows)) if grid.rows else None,
        )
    for row in grid.rows:
        table.add_row(*(Text(cell, style=WORDS.get(cell, "")) for cell in row))
    return table
