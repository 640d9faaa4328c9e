"""Make ``from tests.world import …`` work from wherever pytest is started, and with any import mode."""

from __future__ import annotations

import sys
from pathlib import Path

REPO = str(Path(__file__).resolve().parent.parent)
if REPO not in sys.path:
    sys.path.insert(0, REPO)
