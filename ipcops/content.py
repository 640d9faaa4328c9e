"""Where the Ansible collection lies that comes with this package: in a checkout links, in a wheel files."""

from __future__ import annotations

import os

from ipcops.core.errors import UndeterminedError

_COLLECTIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_collections")
_COLLECTION = os.path.join(_COLLECTIONS, "ansible_collections", "ipcops", "linux")
_PARTS = ("playbooks", "plugins", "roles")


def collections() -> str:
    """Return the directory that Ansible finds the collection through (``ANSIBLE_COLLECTIONS_PATH``).

    Raise UndeterminedError where it is not whole, as in a checkout without its symbolic links.
    """
    for part in _PARTS:
        path = os.path.join(_COLLECTION, part)
        if not os.path.isdir(path):
            raise UndeterminedError(
                "the collection ipcops.linux is not whole: '%s' is no directory; install ipcops anew" % path
            )
    return _COLLECTIONS
