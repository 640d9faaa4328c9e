# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The core as one archive, to be sent to a host and imported there."""

from __future__ import annotations

import base64
import importlib.util
import io
import marshal
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path

CORE = Path(__file__).resolve().parent.parent / "module_utils" / "core"
PACKAGE = "ipcops_core"
_UNCHECKED = (1).to_bytes(4, "little") + bytes(8)  # by a hash that nobody compares (PEP 552)


def packed(*, bytecode: bool) -> str:
    """Return the core in base64: its sources and, where wanted, what this very Python makes of them.

    Bytecode triples the size and saves a host with the same Python from compiling; any other passes over it.
    """
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for path in sorted(CORE.rglob("*.py")):
            name = f"{PACKAGE}/{path.relative_to(CORE)}"
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED, 6)
            if bytecode:
                code = SourceFileLoader(name, str(path)).get_code(name)  # from __pycache__, or put there
                content = importlib.util.MAGIC_NUMBER + _UNCHECKED + marshal.dumps(code)
                archive.writestr(zipfile.ZipInfo(f"{name}c"), content, zipfile.ZIP_DEFLATED, 1)
    return base64.b64encode(whole.getvalue()).decode()
