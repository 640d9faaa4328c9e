from __future__ import annotations

import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def shared_directory():
    """Give a directory that other users can reach, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="ipcops-test-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o755)
        yield place
