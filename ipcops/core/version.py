"""The version, for those who carry the core without the package; tests/project holds it to the package's."""

from __future__ import annotations

VERSION = "0.1.0"
