"""The policy: what is looked at, what is a finding, what may go and what never does.

``/etc/ipcops/ipcops.conf`` is an INI file. ``settings`` states every setting once, ``sections`` what the named
sections mean, ``values`` how a value is written, ``file`` reads it all, ``policy`` is what comes of it.
"""

from __future__ import annotations

from .file import parse_policy
from .policy import Policy, defaults
from .sections import BUILT_IN, Candidate, ProtectSection, RemoveSection, idiom
from .settings import (
    ACCEPT,
    BACKUPS,
    DEFAULT_PATH,
    EXEMPT_KINDS,
    ON_EXCESS,
    OWNER_GONE,
    PROTECT_KEYS,
    REMOVE_KEYS,
    SETTINGS,
    Setting,
)
from .values import (
    parse_count,
    parse_directories,
    parse_directory,
    parse_duration,
    parse_key_range,
    parse_percent,
    parse_size,
    parse_words,
    parse_yes,
)

__all__ = [
    "ACCEPT",
    "BACKUPS",
    "BUILT_IN",
    "DEFAULT_PATH",
    "EXEMPT_KINDS",
    "ON_EXCESS",
    "OWNER_GONE",
    "PROTECT_KEYS",
    "REMOVE_KEYS",
    "SETTINGS",
    "Candidate",
    "Policy",
    "ProtectSection",
    "RemoveSection",
    "Setting",
    "defaults",
    "idiom",
    "parse_count",
    "parse_directories",
    "parse_directory",
    "parse_duration",
    "parse_key_range",
    "parse_percent",
    "parse_policy",
    "parse_size",
    "parse_words",
    "parse_yes",
]
