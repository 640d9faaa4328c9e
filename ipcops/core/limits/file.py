"""The file of ours for the loaders: what it says, each line with its reason above it."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from ..tuples import NamedTuple
from .parameters import BY_NAME, Floor
from .plan import UNNAMED, Plan

HEAD = """\
# Made by 'ipcops limits apply'; 'ipcops limits rollback' takes it back. The last line for a key counts,
# whichever file it is in: 'ipcops limits plan' names the file that wins.
"""


class Block(NamedTuple):
    """A line of the file and the comments above it."""

    key: str
    comments: Tuple[str, ...]
    line: str


def parse_blocks(text: str) -> List[Block]:
    """Return the assignments of a file with their comments; comments that an empty line parts from all are the head."""
    blocks: Dict[str, Block] = {}
    comments: List[str] = []
    for raw in text.split("\n"):
        line = raw.strip()
        if line.startswith(("#", ";")):
            comments.append(line)
        elif not line:
            comments = []
        else:
            key = line.partition("=")[0].strip().lstrip("-").replace("/", ".")
            blocks.pop(key, None)  # the last one counts
            blocks[key] = Block(key, tuple(comments), line)
            comments = []
    return list(blocks.values())


def rendered(plan: Plan, before: Optional[str]) -> str:
    """Return the text of the file that a plan makes of what it was *before*: lines that are not in question stay."""
    floors: Dict[str, List[Floor]] = {}
    for row in plan.rows:
        key = BY_NAME[row.name].key
        if key is not None:
            floors.setdefault(key, []).extend(row.floors)
    mine = {
        key: Block(key, tuple(map(_told, floors[key])), _line(key, numbers))
        for key, numbers in plan.lines.items()
        if key in floors
    }
    blocks = [mine.pop(one.key, one) for one in parse_blocks(before or "")]
    return written([*blocks, *mine.values()])


def _line(key: str, numbers: Sequence[int]) -> str:
    return "%s = %s" % (key, " ".join(map(str, numbers)))


def _told(floor: Floor) -> str:
    if floor.profile == UNNAMED:
        return "# %s: %d was asked for" % (floor.name, floor.value)
    formula = "" if floor.formula == str(floor.value) else " = " + floor.formula
    text = "# %s: %d%s, %s (%s)" % (floor.name, floor.value, formula, floor.profile, floor.source)
    return "".join(one if one.isprintable() else "?" for one in text)  # a CR or NUL would end the comment


def written(blocks: Sequence[Block]) -> str:
    """Return the text of a file of these blocks."""
    parts = [HEAD, *("\n".join((*block.comments, block.line)) + "\n" for block in blocks)]
    return "\n".join(parts)


def kept(before: Optional[str], after: str, keys: Mapping[str, Sequence[int]]) -> Optional[str]:
    """Return the text of *before* with the lines of *after* for the *keys* that stay; ``None`` for no file."""
    blocks = parse_blocks(before or "")
    staying = {one.key: one for one in parse_blocks(after) if one.key in keys}
    if not staying:
        return before
    return written([*(staying.pop(one.key, one) for one in blocks), *staying.values()])
