# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The Python package ipcops that this collection lies in or carries along: what renders on the controller."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from ansible.errors import AnsibleActionFail

MARK = Path("ipcops/bundle/contents.py")
"""What the package has and no other directory called ipcops, such as the collection's own."""


def root() -> Path:
    """Return the directory that holds the package: that of a checkout, site-packages, or the collection itself.

    Raise AnsibleActionFail where none does.
    """
    here = Path(__file__).resolve().parent
    for place in here.parents:
        if (place / MARK).is_file():
            return place
    raise AnsibleActionFail(f"the collection in {here.parents[1]} lacks {MARK}; install it anew")


def importable() -> None:
    """Make ``import ipcops`` give the package in ``root()``. Raise AnsibleActionFail.

    Not another one that is installed, and nothing else that lies beside ours: ``sys.path`` stays as it was.
    """
    place = root()
    if "ipcops" not in sys.modules:
        sys.path.insert(0, str(place))
        try:
            importlib.import_module("ipcops")
        finally:
            sys.path.remove(str(place))
    found = sys.modules["ipcops"].__file__
    if found is None or Path(found).resolve().parent != place / "ipcops":
        raise AnsibleActionFail(f"another ipcops is loaded already, from {found}; this collection needs {place}/ipcops")
