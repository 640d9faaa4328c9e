"""``/proc/sysvipc/{shm,sem,msg}``: the kernel's own tables (ipc/util.c, shm.c, sem.c, msg.c).

Every user sees every row of its IPC namespace. Columns are found by their header: there are
tables of 14 and of 16 columns (without and with ``rss`` and ``swap``).
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from ..fs import Directory
from ..kernel import Kernel, Usage
from ..model import Evidence, Gap, Table

ID_HEADERS = {"shm": "shmid", "sem": "semid", "msg": "msqid"}
NEEDED = {
    "shm": "key id mode size cpid lpid nattch uid gid cuid cgid atime dtime ctime".split(),
    "sem": "key id mode nsems uid gid cuid cgid otime ctime".split(),
    "msg": "key id mode cbytes qnum lspid lrpid uid gid cuid cgid stime rtime ctime".split(),
}
_SIGNED = ("key",)
_KEYS = (-(1 << 31), (1 << 32) - 1)
"""What 32 bits can say, with a sign (as the kernel writes it) or without."""
_WORST_ROW = 200

DENSE = 0.25
"""Share of the index range in use from which asking index by index beats the text."""
MANY = 512
"""Fewer objects than this are read as text at once."""


def parse_table(kind: str, text: bytes) -> Tuple[Table, List[str]]:
    """Return the rows of a table and, escaped, the lines that are none.

    Raise ValueError when the header lacks a column that every kernel has.
    """
    lines = text.split(b"\n")
    names = [
        {"perms": "mode", ID_HEADERS[kind]: "id"}.get(name, name)
        for name in lines[0].decode("ascii", "replace").split()
    ]
    missing = [name for name in NEEDED[kind] if name not in names]
    if missing or len(set(names)) != len(names):
        raise ValueError("the header of the %s table lacks %s" % (kind, ", ".join(missing)))
    rows = [line.split() for line in lines[1:] if line]
    width = len(names)
    bad: List[str] = []
    if set(map(len, rows)) - {width}:
        bad += [_shown(row) for row in rows if len(row) != width]
        rows = [row for row in rows if len(row) == width]
    try:
        columns = _columns(names, rows)
    except ValueError:
        good = []
        for row in rows:
            try:
                _columns(names, [row])
            except ValueError:
                bad.append(_shown(row))
            else:
                good.append(row)
        columns = _columns(names, good)
    return Table(kind, columns), bad


def _columns(names: Sequence[str], rows: List[List[bytes]]) -> Dict[str, Sequence[int]]:
    columns: Dict[str, Sequence[int]] = {}
    for name, texts in zip(names, zip(*rows) if rows else [()] * len(names)):
        if name == "mode":
            known = {text: int(text, 8) for text in set(texts)}
            numbers = [known[text] for text in texts]
        else:
            numbers = list(map(int, texts))
        if name in _SIGNED:
            if numbers and not (_KEYS[0] <= min(numbers) and max(numbers) <= _KEYS[1]):
                raise ValueError(name)
            numbers = [number & 0xFFFFFFFF for number in numbers]
        elif numbers and min(numbers) < 0:
            raise ValueError(name)
        columns[name] = numbers
    return columns


def _shown(row: List[bytes]) -> str:
    return b" ".join(row).decode("ascii", "backslashreplace")[:_WORST_ROW]


def read_table(proc: Directory, kernel: Kernel, kind: str) -> Tuple[Optional[Table], List[Gap]]:
    """Return the objects of one kind and what could not be read of them.

    Dense tables of sets and queues come from the kernel index by index, which is faster than
    the text and gives ``qbytes`` as well; everything else, and every doubt, from the text.
    """
    table = _swept(kernel, kind)
    gaps: List[Gap] = []
    if table is None:
        what = "/proc/sysvipc/%s" % kind
        try:
            text = proc.read("sysvipc/%s" % kind)
        except OSError as error:
            why = "this kernel has no System V IPC" if error.errno == 2 else str(error.strerror)
            return None, [Gap(Evidence.TABLE, what, why, kind=kind)]
        try:
            table, bad = parse_table(kind, text)
        except ValueError as error:
            return None, [Gap(Evidence.TABLE, what, str(error), kind=kind)]
        gaps += [
            Gap(Evidence.TABLE, "a row of %s" % what, "it could not be understood: '%s'" % row, kind=kind)
            for row in bad
        ]
    if kind == "msg" and "qbytes" not in table:
        table.columns["qbytes"] = kernel.msg_qbytes(table["id"])
    return table, gaps


def _swept(kernel: Kernel, kind: str) -> Optional[Table]:
    try:
        usage: Optional[Usage] = None
        if kind == "sem":
            usage = kernel.sem_usage()
        elif kind == "msg":
            usage = kernel.msg_usage()
        if usage is None or usage.objects < MANY or usage.objects < DENSE * (usage.highest + 1):
            return None
        columns = kernel.sem_table() if kind == "sem" else kernel.msg_table()
    except OSError:
        return None  # an old kernel or a filter: the text says the same
    return None if columns is None else Table(kind, columns)
