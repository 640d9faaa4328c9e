"""The one statement of every setting: its name, default, unit, bounds and meaning.

The file's documentation (``ipcops render policy``), its parser and the defaults are made from it.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple

from ..model import KINDS, REMOVABLE_KINDS
from ..tuples import NamedTuple
from .values import (
    parse_count,
    parse_directories,
    parse_directory,
    parse_duration,
    parse_file_name,
    parse_percent,
    parse_size,
    parse_words,
    parse_yes,
)

DEFAULT_PATH = "/etc/ipcops/ipcops.conf"


class Setting(NamedTuple):
    """One key of the policy file: its default as a user writes it, unit, bounds and meaning."""

    section: str
    name: str
    default: str
    unit: str
    meaning: str
    parse: Callable[[str], Any]
    least: Optional[float] = None
    most: Optional[float] = None

    def value(self, text: str) -> Any:
        """Return the value of *text*. Raise ValueError, with the bounds when it is outside them."""
        value = self.parse(text)
        if (self.least is not None and value < self.least) or (self.most is not None and value > self.most):
            raise ValueError("is out of bounds; from %s to %s" % (self.bounds()))
        return value

    def bounds(self) -> Tuple[str, str]:
        """Return the least and the greatest value as a user writes them."""
        return _bound(self.parse, self.least, "nothing"), _bound(self.parse, self.most, "any")


def _bound(parse: Callable[[str], Any], value: Optional[float], none: str) -> str:
    if value is None:
        return none
    if parse is parse_percent:
        return "%g" % (value * 100)
    if parse is parse_duration:
        return "%gd" % (value / 86400) if value >= 86400 else "%gs" % value
    return "%g" % value


EXEMPT_KINDS = (*KINDS, "container")
"""What ``exempt`` can name besides a rule: objects, and containers as a whole."""

_YEAR = 366 * 86400.0

SETTINGS: Tuple[Setting, ...] = (
    Setting(
        "scan", "deadline", "10s", "duration",
        "How long looking may take. What was not reached by then is reported as not seen, and whatever"
        " depends on it is unknown.",
        parse_duration, 0.01, 3600,
    ),
    Setting(
        "scan", "fifo_dirs", "/tmp /run /var/tmp /var/spool", "directories",
        "Where to look for FIFOs and socket files: in these directories and up to three levels below, but not"
        " in what is mounted there, for 20,000 entries or 50 ms in all.",
        parse_directories,
    ),
    Setting(
        "scan", "unreadable_ok", "", "users or systemd units",
        "Processes whose maps, descriptors, namespaces and system calls may stay unseen, by user or unit. Pid 1 always"
        " counts as unit init.scope: some machines refuse its maps even to root.",
        parse_words,
    ),
    Setting(
        "scan", "mq_notify", "no", "yes or no",
        "Whether to read which process a POSIX queue notifies. The kernel changes the queue's ctime when"
        " this is read; nothing else that ipcops reads leaves a trace.",
        parse_yes,
    ),
    Setting(
        "audit", "orphan_age", "24h", "duration",
        "An unused object younger than this is idle; only an older one can be an orphan. Age runs on the"
        " boot clock, so a clock that jumps makes nothing old.",
        parse_duration, 0, _YEAR,
    ),
    Setting(
        "audit", "idle_age", "7d", "duration",
        "An idle object must be unused for this long before its size makes it a finding, or a FIFO before it"
        " is one by itself.",
        parse_duration, 0, _YEAR,
    ),
    Setting(
        "audit", "idle_size", "64M", "size",
        "An idle object at least this large and unused for idle_age is a finding.",
        parse_size, 0,
    ),
    Setting(
        "audit", "near_limit", "75", "% of a limit",
        "From this share of a limit on, its rule reports medium.",
        parse_percent, 0.01, 1,
    ),
    Setting(
        "audit", "at_limit", "90", "% of a limit",
        "From this share of a limit on, its rule reports high.",
        parse_percent, 0.01, 1,
    ),
    Setting(
        "audit", "orphans_of_memory", "10", "% of memory",
        "Orphaned segments that together exceed this share of memory are high instead of medium.",
        parse_percent, 0, 1,
    ),
    Setting(
        "audit", "leaks_of_shm", "25", "% of /dev/shm",
        "Leaked files that together exceed this share of /dev/shm are high instead of medium.",
        parse_percent, 0, 1,
    ),
    Setting(
        "audit", "shm_full_high", "85", "% of /dev/shm",
        "From this use of its bytes or inodes on, /dev/shm is reported high.",
        parse_percent, 0.01, 1,
    ),
    Setting(
        "audit", "shm_full_critical", "95", "% of /dev/shm",
        "From this use of its bytes or inodes on, /dev/shm is reported critical.",
        parse_percent, 0.01, 1,
    ),
    Setting(
        "audit", "exempt", "", "RULE or RULE:KIND:OBJECT",
        "Findings that are accepted here: a whole rule (MSG-007), or a rule for one object by id, key or"
        " path, globs allowed (SHM-001:shm:0x0052e2c1, PSHM-001:posix-shm:/cache-*), or for one container by"
        " its id (HOST-003:container:1f2e3d*).",
        parse_words,
    ),
    Setting(
        "clean", "max_removals", "100", "objects",
        "How many objects one run may remove. A [remove NAME] that would take more says whether none of its"
        " objects go then or the oldest.",
        parse_count, 0, 1_000_000,
    ),
    Setting(
        "clean", "second_sighting", "1h", "duration",
        "How long ago a run must have seen the same unused object, unchanged, before a later one removes it."
        " 0 is at once. Runs on the boot clock.",
        parse_duration, 0, _YEAR,
    ),
    Setting(
        "clean", "state", "", "directory",
        "Where journal, backups and sightings are kept. Without it /var/lib/ipcops, for an ordinary user"
        " $XDG_STATE_HOME/ipcops or ~/.local/state/ipcops.",
        parse_directory,
    ),
    Setting(
        "clean", "journal_size", "16M", "size",
        "How large a file of the journal grows before the next is begun.",
        parse_size, 1 << 16, 1 << 40,
    ),
    Setting(
        "clean", "journal_files", "8", "files",
        "How many files of the journal are kept; the oldest goes first.",
        parse_count, 1, 1000,
    ),
    Setting(
        "clean", "backup_bytes", "1G", "size",
        "How large all backups together may be. What does not fit is not removed.",
        parse_size, 0, 1 << 48,
    ),
    Setting(
        "clean", "backup_object", "256M", "size",
        "How large the contents of one object may be for a full backup. A larger one is not removed, unless"
        " its [remove NAME] says backup = metadata.",
        parse_size, 0, 1 << 48,
    ),
    Setting(
        "clean", "backup_messages", "4096", "messages",
        "How many messages of a queue a full backup may hold; copying them takes time by their square.",
        parse_count, 0, 1_000_000,
    ),
    Setting(
        "clean", "backup_age", "30d", "duration",
        "How long backups are kept.",
        parse_duration, 0, 10 * _YEAR,
    ),
    Setting(
        "limits", "profiles", "", "NAME or NAME:TERM=NUMBER",
        "The profiles of what runs here: what 'ipcops limits plan' and 'apply' go by, and the audit (SYS-005,"
        " PSHM-007, SHM-011), unless --profile names others.",
        parse_words,
    ),
    Setting(
        "limits", "profile_dir", "/etc/ipcops/profiles", "directory",
        "Where profiles of your own are: every file in it that ends in .conf, in the format that docs/limits.md tells.",
        parse_directory,
    ),
    Setting(
        "limits", "file", "99-zz-ipcops.conf", "file name",
        "The file in /etc/sysctl.d that 'ipcops limits apply' writes. The last line for a key counts, so its name is"
        " to sort behind those of all others.",
        parse_file_name,
    ),
    Setting(
        "job", "kinds", "shm posix-shm", "kinds",
        "What 'ipcops clean --job-ended USER' takes of a user who runs no process any more. Kinds that the file"
        " itself names go at confidence strong, these only where it is certain: segments, and files of the known"
        " families.",
        parse_words,
    ),
    Setting(
        "metrics", "kinds", "shm sem msg posix-shm posix-sem posix-mq pipe", "kinds",
        "What 'ipcops metrics' and 'ipcops check' look at, and whose orphans and findings they count. fifo, unix,"
        " inet and lock may be added, and host for what concerns the host as a whole; each makes every run dearer.",
        parse_words,
    ),
    Setting(
        "metrics", "owners", "20", "users",
        "How many users a metric tells one by one, those with the most first; the others are summed as 'other'.",
        parse_count, 0, 10_000,
    ),
    Setting(
        "metrics", "queues", "20", "queues",
        "How many queues a metric tells one by one, the fullest first; the others are summed as 'other'.",
        parse_count, 0, 10_000,
    ),
)  # fmt: skip

METRIC_KINDS = (*KINDS, "host")
"""What ``[metrics] kinds`` may name."""

PROTECT_KEYS: Dict[str, str] = {
    "owner": "users (names, globs of names, or uids) or @groups that own the object",
    "kind": "kinds: " + " ".join(REMOVABLE_KINDS),
    "name": "globs of POSIX names, such as /cache-*",
    "key": "System V keys or ranges, such as 0x1234 or 0x4d2-0xcee",
    "unit": "systemd units: the object has a holder in one of them, or its owner runs one",
    "reason": "why (required)",
    "lift": "the shipped section that this one lifts, for what the other keys match",
}

REMOVE_KEYS: Dict[str, str] = {
    "kind": "kinds (required): " + " ".join(REMOVABLE_KINDS),
    "owner": "users (names, globs of names, or uids), @groups, or nameless for uids without a name; required for"
    " sem and msg, which nothing counts the users of",
    "name": "globs of POSIX names, such as /psm_*",
    "key": "System V keys or ranges, such as 0x1234 or 0x4d2-0xcee; 0x0 is a private object",
    "min_age": "how long it must have been unused (24h)",
    "owner_gone": "uid (the default): nobody runs a process whom its mode lets use it; unit: every process of the"
    " owner belongs to a systemd unit or login session that began after the last use, for sets and for private"
    " segments and queues; ignore: whoever runs, for unattached shm and for posix-shm by name that nobody holds",
    "accept": "certain (the default), or strong: sets, queues and files of no known family are never more",
    "max_removals": "how many of these one run may remove; never more than [clean] max_removals in all",
    "on_excess": "what happens when there are more: refuse (the default) removes none of them, oldest the oldest",
    "backup": "full (the default), metadata (all but the contents) or none",
    "with_data": "yes takes queues that hold messages, too; POSIX queues that hold some never go",
}

OWNER_GONE = ("uid", "unit", "ignore")
ACCEPT = ("certain", "strong")
ON_EXCESS = ("refuse", "oldest")
BACKUPS = ("full", "metadata", "none")

NAMELESS = "nameless"
"""The owner word for uids that no user has."""

MIN_AGE = 86400.0
"""Seconds that an object must have been unused for, unless a section says otherwise."""

LONGEST = _YEAR
