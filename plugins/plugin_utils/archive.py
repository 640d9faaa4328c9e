# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The core as one archive, to be sent to a host and imported there."""

from __future__ import annotations

import base64
import functools
import io
import zipfile
from pathlib import Path

CORE = Path(__file__).resolve().parent.parent / "module_utils" / "core"


@functools.cache
def packed() -> str:
    """Return the sources of the core in base64."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for path in sorted(CORE.rglob("*.py")):
            member = zipfile.ZipInfo(f"{CORE.name}/{path.relative_to(CORE)}")  # of 1980, so the same each time
            archive.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return base64.b64encode(whole.getvalue()).decode()


# Now, as who loads an action plugin first is the process that the workers for all hosts are forked from.
packed()
