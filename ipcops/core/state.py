"""The state directory: what one run of cleaning leaves for the next, and the lock between them.

``/var/lib/ipcops``, or below the home of an ordinary user. It belongs to the user who cleans and
nobody else may write there: what stands in it decides what goes and what comes back.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional

from .errors import IpcopsError, WriteError
from .fs import Directory, environment, make_directories
from .policy import Policy

SYSTEM_PATH = "/var/lib/ipcops"
BACKUPS = "backups"
EXPIRES = 31 * 86400.0
"""Seconds of the boot clock after which an object that was not seen again is forgotten."""

_LOCK = "lock"
_CLOCK = "clock.json"
_NOTICED = 1.0
"""Seconds that a clock must have been set back to be noted anew."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class BusyError(IpcopsError):
    """Another cleaner is at work; this one gives way."""


def default_path(policy: Policy, euid: int) -> str:
    """Return the state directory: the policy's, or that of the user (XDG Base Directory Specification)."""
    path = str(policy["clean", "state"])
    if path:
        return path
    if euid == 0:
        return SYSTEM_PATH
    base = environment("XDG_STATE_HOME") or ""
    if not base.startswith("/"):  # the specification: what is not absolute is to be ignored
        base = os.path.join(os.path.expanduser("~"), ".local/state")
    return os.path.join(base, "ipcops")


class State:
    """A state directory, which need not be there until something is written."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sightings = Seen(self, "sightings.json")
        """When an object was first seen as one that could go."""
        self.announced = Seen(self, "announced.json")
        """When its owner was told of an object."""

    @property
    def backups(self) -> str:
        """The directory of the backups; made with the others."""
        return os.path.join(self.path, BACKUPS)

    def directory(self) -> Optional[Directory]:
        """Open the directory; ``None`` where there is none yet.

        Raise WriteError where it is another user's or others may write to it: then nothing in it can be trusted.
        """
        try:
            opened = Directory.open(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("opened", error) from error
        info = opened.own_info()
        why = None
        if info.uid != os.geteuid():
            why = "the state directory '%s' belongs to uid %d, not to the one who cleans" % (self.path, info.uid)
        elif info.mode & _OTHERS_WRITE:
            why = "others may write to the state directory '%s'; check it, then chmod it to 0700" % self.path
        if why is not None:
            opened.close()
            raise WriteError(why)
        return opened

    def made(self) -> Directory:
        """Open the directory, made with what belongs into it where it is not there. Raise WriteError."""
        try:
            make_directories(self.path)
            opened = self.directory()
            if opened is None:
                raise FileNotFoundError(2, os.strerror(2))
            try:
                opened.make(BACKUPS)
            except BaseException:
                opened.close()
                raise
        except OSError as error:
            raise self._error("made", error) from error
        return opened

    def booted_at(self, boot_id: Optional[str]) -> Optional[float]:
        """Return the earliest epoch second that a run took for that of this boot; ``None`` when there was none yet.

        By what a clock was set ahead since, everything that was made before seems older than it is. Raise WriteError.
        """
        directory = self.directory()
        if directory is None:
            return None
        with directory:
            try:
                found = json.loads(directory.read(_CLOCK).decode())
                return float(found["booted_at"]) if found["boot_id"] == boot_id else None
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                return None
            except OSError as error:
                raise WriteError("cannot read '%s/%s': %s" % (self.path, _CLOCK, error.strerror)) from error

    def note_clock(self, boot_id: Optional[str], booted_at: float) -> None:
        """Note the epoch second of the boot by today's clock, if none was earlier; under the lock. Raise WriteError."""
        before = self.booted_at(boot_id)
        if boot_id is None or (before is not None and before - booted_at < _NOTICED):
            return
        text = json.dumps({"boot_id": boot_id, "booted_at": booted_at})
        try:
            with self.made() as directory:
                directory.replace_whole(_CLOCK, text.encode())
        except OSError as error:
            raise WriteError("cannot write '%s/%s': %s" % (self.path, _CLOCK, error.strerror)) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only cleaner while this lasts. Raise BusyError, naming the other; WriteError."""
        with self.made() as directory:
            try:
                fd = directory.open_own(_LOCK)
            except OSError as error:
                raise self._error("locked", error) from error
            try:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise BusyError(_busy(fd)) from None
                except OSError as error:
                    raise self._error("locked", error) from error
                with contextlib.suppress(OSError):  # a full disk: the lock holds, only the message is poorer
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, b"%d\n" % os.getpid(), 0)
                yield
            finally:
                os.close(fd)

    def _error(self, what: str, error: OSError) -> WriteError:
        return WriteError("the state directory '%s' cannot be %s: %s" % (self.path, what, error.strerror))


def _busy(fd: int) -> str:
    text = os.pread(fd, 32, 0).strip()
    who = " (pid %s)" % text.decode() if text.isdigit() else ""
    return "another ipcops is cleaning%s; this one gives way and did nothing" % who


class Seen:
    """Identities of objects and when each was first seen, on the clock of one boot; kept in a file.

    Identities of another boot are forgotten: no object outlives it.
    """

    def __init__(self, state: State, name: str) -> None:
        self.state, self.name = state, name

    def read(self, boot_id: Optional[str], uptime: float) -> Dict[str, float]:
        """Return each identity with the seconds since it was first seen. Raise WriteError."""
        found: Dict[str, float] = {}
        for times in self._read(boot_id).values():
            for identity, (first, _) in times.items():
                if first <= uptime:
                    found[identity] = uptime - first
        return found

    def write(self, found: Mapping[str, Iterable[str]], boot_id: Optional[str], uptime: float) -> None:
        """Note the identities that were found just now, by kind.

        Of the kinds in *found* all others are forgotten: in between they were used, or went. Kinds that
        were not looked at stay, for as long as EXPIRES. Call it under the lock. Raise WriteError.
        """
        if boot_id is None:
            return  # without it a later boot could take these for its own
        before = self._read(boot_id)
        kinds: Dict[str, Dict[str, List[float]]] = {
            kind: {one: times for one, times in old.items() if uptime - times[1] <= EXPIRES}
            for kind, old in before.items()
            if kind not in found
        }
        for kind, identities in found.items():
            old = before.get(kind, {})
            kinds[kind] = {
                one: [old[one][0] if one in old and old[one][0] <= uptime else uptime, uptime] for one in identities
            }
        if kinds == before:  # on most hosts there is nothing: two waits for the disk less
            return
        text = json.dumps({"boot_id": boot_id, "kinds": kinds}, separators=(",", ":"))
        try:
            with self.state.made() as directory:
                directory.replace_whole(self.name, text.encode())
        except OSError as error:
            raise WriteError("cannot write '%s/%s': %s" % (self.state.path, self.name, error.strerror)) from error

    def add(self, found: Mapping[str, Iterable[str]], boot_id: Optional[str], uptime: float) -> None:
        """Note more identities, and forget none. Raise WriteError."""
        whole = {kind: set(times) for kind, times in self._read(boot_id).items()}
        for kind, identities in found.items():
            whole.setdefault(kind, set()).update(identities)
        self.write({kind: sorted(identities) for kind, identities in whole.items()}, boot_id, uptime)

    def _read(self, boot_id: Optional[str]) -> Dict[str, Dict[str, List[float]]]:
        directory = self.state.directory()
        if directory is None or boot_id is None:
            return {}
        with directory:
            try:
                return parse_seen(directory.read(self.name), boot_id)
            except FileNotFoundError:
                return {}
            except ValueError:
                return {}  # nothing was seen before, then: what may go waits once more
            except OSError as error:
                raise WriteError("cannot read '%s/%s': %s" % (self.state.path, self.name, error.strerror)) from error


def parse_seen(text: bytes, boot_id: str) -> Dict[str, Dict[str, List[float]]]:
    """Return by kind and identity when it was first and last seen, in seconds since that boot. Raise ValueError."""
    whole: Any = json.loads(text.decode())
    try:
        if whole["boot_id"] != boot_id:
            return {}
        found = {kind: {one: list(times) for one, times in seen.items()} for kind, seen in whole["kinds"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("these are no sightings") from error
    for seen in found.values():
        for times in seen.values():
            if len(times) != 2 or not all(type(one) in (int, float) and one >= 0 for one in times):
                raise ValueError("these are no times of sightings")
    return found
