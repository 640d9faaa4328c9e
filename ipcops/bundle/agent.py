"""Builds the agent: the whole core as one file that any Python from 3.9 on runs.

The file is a zip archive, which Python runs as it is: ``python3 -I ipcops-agent.pyz audit``. It holds
``__main__.py`` (:mod:`ipcops.bundle.starter`) and the core, without comments and docstrings and with every line
where it was, as one archive. The same sources give the same bytes on any machine: names are sorted, times and
owners are left out, and bzip2 has had one encoder and one format since 1.0, where zlib's output differs
between its implementations.

``python3 -m ipcops.bundle.agent FILE`` needs nothing but this checkout.
"""

from __future__ import annotations

import ast
import bz2
import io
import os
import sys
import tarfile
import tokenize
import zipfile

import ipcops
from ipcops.core.deliver import guarded
from ipcops.core.errors import InputError
from ipcops.core.fs import write_whole

from . import starter

CORE = os.path.join(os.path.dirname(os.path.abspath(ipcops.__file__)), "core")
FILE = "ipcops-agent.pyz"


def stripped(source: str) -> str:
    """Return *source* without comments and docstrings, every other token where it was.

    Lines keep their numbers, so that a traceback from a host tells the line in this repository.
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        texts = [one for one in body if _is_text(one)]
        for one in texts:
            first, last = one.lineno - 1, one.end_lineno or one.lineno
            indent = lines[first][: one.col_offset]
            lines[first:last] = [indent + "pass" if len(texts) == len(body) else ""] * (last - first)
    return "\n".join(lines) + "\n"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def sources() -> dict[str, bytes]:
    """Return the core's files as the agent holds them, by path, sorted: ``core/agent.py``."""
    found = {}
    for parent, _, names in os.walk(CORE):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(parent, name)
                with open(path, encoding="utf-8") as file:
                    text = stripped(file.read())
                found["core/" + os.path.relpath(path, CORE).replace(os.sep, "/")] = text.encode("utf-8")
    return dict(sorted(found.items()))


def build() -> bytes:
    """Return the agent."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sources().items():
            member = tarfile.TarInfo(name)  # its time is 0, its owner root
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with open(starter.__file__, "rb") as file:
        main = file.read()
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive_file:
        for name, content in (("__main__.py", main), (starter.NAME, bz2.compress(packed.getvalue(), 9))):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, wherever it is built
            archive_file.writestr(entry, content)
    return whole.getvalue()


def _main() -> int:
    def work() -> int:
        if len(sys.argv) != 2:  # the program and the file
            raise InputError("usage: python3 -m ipcops.bundle.agent FILE")
        write_whole(sys.argv[1], [build()])
        return 0

    return guarded(work, debug="--debug" in sys.argv, name="ipcops.bundle.agent")


if __name__ == "__main__":
    sys.exit(_main())
