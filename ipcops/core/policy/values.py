"""What a policy file's values may be: one parser for each kind of value, all pure."""

from __future__ import annotations

import re
from typing import Tuple

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]+)?)"
_DURATION = re.compile(_NUMBER + r"\s*(s|m|h|d|w)?\Z")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PERCENT = re.compile(_NUMBER + r"\s*%?\Z")
_SIZE = re.compile(_NUMBER + r"\s*(?:([KMGT])(?:iB|B)?|B)?\Z", re.IGNORECASE)
_BYTES = {None: 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_COUNT = re.compile(r"[0-9]{1,9}\Z")


def parse_duration(text: str) -> float:
    """Return seconds from ``90``, ``90s``, ``10m``, ``24h``, ``7d`` or ``2w``. Raise ValueError."""
    found = _DURATION.match(text.strip())
    if not found:
        raise ValueError("is no duration; write a number with s, m, h, d or w, such as 24h")
    return float(found.group(1)) * _SECONDS[found.group(2)]


def parse_size(text: str) -> int:
    """Return bytes from ``4096``, ``64M`` or ``1.5 GiB`` (powers of 1024). Raise ValueError."""
    found = _SIZE.match(text.strip())
    if not found:
        raise ValueError("is no size; write a number with K, M, G or T, such as 64M")
    unit = found.group(2)
    return int(float(found.group(1)) * _BYTES[unit.upper() if unit else None])


def parse_percent(text: str) -> float:
    """Return a share from ``90`` or ``90 %``. Raise ValueError."""
    found = _PERCENT.match(text.strip())
    if not found:
        raise ValueError("is no percentage; write a number such as 90")
    return float(found.group(1)) / 100


def parse_yes(text: str) -> bool:
    """Return whether the word is yes. Raise ValueError for anything but yes and no."""
    word = text.strip().lower()
    if word in ("yes", "true", "on", "1"):
        return True
    if word in ("no", "false", "off", "0"):
        return False
    raise ValueError("is neither yes nor no")


def parse_words(text: str) -> Tuple[str, ...]:
    """Return the words of a list; blanks, commas and line ends part them."""
    return tuple(word for word in re.split(r"[\s,]+", text.strip()) if word)


def parse_directories(text: str) -> Tuple[str, ...]:
    """Return the paths of a list, as parse_words does. Raise ValueError at one that is not absolute."""
    paths = parse_words(text)
    for path in paths:
        if not path.startswith("/") or "\0" in path:
            raise ValueError("names '%s', which is no absolute path; write it from / on, such as /run" % path)
    return paths


def parse_directory(text: str) -> str:
    """Return one absolute path, or nothing for nothing. Raise ValueError."""
    path = text.strip()
    if path and (not path.startswith("/") or "\0" in path):
        raise ValueError("is no absolute path; write it from / on, such as /var/lib/ipcops")
    return path


def parse_file_name(text: str) -> str:
    """Return the name of a file that both loaders of sysctl files read. Raise ValueError."""
    name = text.strip()
    if not re.match(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.conf\Z", name):
        raise ValueError("is no name of such a file; write letters, digits, '.', '_' and '-', with .conf at the end")
    return name


def parse_count(text: str) -> int:
    """Return a whole number. Raise ValueError."""
    if not _COUNT.match(text.strip()):
        raise ValueError("is no whole number; write digits alone, such as 100")
    return int(text)


def parse_key_range(text: str) -> Tuple[int, int]:
    """Return the first and last key of ``0x1234`` or ``0x4d2-0xcee``. Raise ValueError."""
    first, dash, last = text.strip().partition("-")
    try:
        low = int(first, 0)
        high = int(last, 0) if dash else low
    except ValueError:
        raise ValueError("is no key; write 0x1234 or a range such as 0x4d2-0xcee") from None
    if not 0 <= low <= high <= 0xFFFFFFFF:
        raise ValueError("is no key between 0x0 and 0xffffffff")
    return low, high
