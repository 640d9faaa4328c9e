"""What a policy file's values may be: one parser for each kind of value, all pure."""

from __future__ import annotations

from typing import Optional, Tuple

_DIGITS = frozenset("0123456789")
_MOST_DIGITS = 15
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _measured(text: str) -> Tuple[Optional[float], str]:
    """Return the number that a text begins with and the unit behind it; ``None`` where it begins with none."""
    text = text.strip()
    end = next((at for at, one in enumerate(text) if one not in _DIGITS and one != "."), len(text))
    whole, dot, part = text[:end].partition(".")
    if not 0 < len(whole) <= _MOST_DIGITS or "." in part or (dot and not part):
        return None, ""
    return float(text[:end]), text[end:].strip()


def parse_duration(text: str) -> float:
    """Return seconds from ``90``, ``90s``, ``10m``, ``24h``, ``7d`` or ``2w``. Raise ValueError."""
    number, unit = _measured(text)
    if number is None or unit not in _SECONDS:
        raise ValueError("is no duration; write a number with s, m, h, d or w, such as 24h")
    return number * _SECONDS[unit]


def parse_size(text: str) -> int:
    """Return bytes from ``4096``, ``64M`` or ``1.5 GiB`` (powers of 1024). Raise ValueError."""
    number, unit = _measured(text)
    unit = unit.lower()
    prefix = unit[:1] if unit != "b" else ""
    if number is None or unit[len(prefix) :] not in ("", "b", "ib") or unit == "ib" or prefix not in _BYTES:
        raise ValueError("is no size; write a number with K, M, G or T, such as 64M")
    return int(number * _BYTES[prefix])


def parse_percent(text: str) -> float:
    """Return a share from ``90`` or ``90 %``. Raise ValueError."""
    number, unit = _measured(text)
    if number is None or unit not in ("", "%"):
        raise ValueError("is no percentage; write a number such as 90")
    return number / 100


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
    return tuple(text.replace(",", " ").split())


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
    import re

    name = text.strip()
    if not re.match(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.conf\Z", name):
        raise ValueError("is no name of such a file; write letters, digits, '.', '_' and '-', with .conf at the end")
    return name


def parse_count(text: str) -> int:
    """Return a whole number. Raise ValueError."""
    digits = text.strip()
    if not 0 < len(digits) <= 9 or not _DIGITS.issuperset(digits):
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
