"""The kernel's limits as they are, and what sets them at boot: /proc/sys, the sysctl files, fstab and limits.conf.

sysctl.d(5), fstab(5), tmpfs(5), limits.conf(5), proc_pid_limits(5), proc_meminfo(5).
"""

from __future__ import annotations

import errno
import re
from typing import Dict, FrozenSet, Iterator, List, Optional, Sequence, Tuple

from .. import fs
from ..errors import InputError
from ..fs import Directory, Roots
from ..limits.loaders import load
from ..limits.parameters import KEYS, OF_KEY, UNLIMITED, Floor, Machine, is_wide, release_of
from ..limits.readings import Stated, Tuning
from ..model import INITIAL_IPC_NAMESPACE, IPCMNI, IPCMNI_EXTENDED, Evidence, Gap
from ..policy import Policy, parse_size
from .facts import parse_ipcmni_extended
from .host import parse_meminfo, read_namespace
from .limits import parse_rlimits
from .sysctld import read_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..limits.profiles import Profile

SYSCTL_D = "/etc/sysctl.d"
_SWAP = re.compile(rb"^SwapTotal:\s+(\d+) kB$", re.MULTILINE)
_SIZE = re.compile(r"size=([0-9]+)([kmgt%]?)", re.IGNORECASE)
_ENDLESS = ("unlimited", "infinity", "-1")


def parse_numbers(key: str, text: bytes) -> Tuple[int, ...]:
    """Return the numbers of a sysctl. Raise ValueError when it has another number of them than it should."""
    numbers = tuple(int(word) for word in text.split())
    if len(numbers) != len(OF_KEY[key]):
        raise ValueError("%d numbers instead of %d" % (len(numbers), len(OF_KEY[key])))
    return numbers


def parse_swap(text: bytes) -> Optional[int]:
    """Return the swap of the host in bytes from /proc/meminfo."""
    found = _SWAP.search(text)
    return int(found[1]) * 1024 if found else None


def parse_fstab(text: str, memory: Optional[int]) -> Dict[str, Stated]:
    """Return what fstab(5) says of /dev/shm; a size in percent is of *memory*."""
    found: Dict[str, Stated] = {}
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if len(fields) < 4 or fields[0].startswith("#") or fields[1] != "/dev/shm":
            continue
        options = fields[3].split(",")
        found = {"dev_shm." + one: Stated(1, "/etc/fstab", number) for one in options if one in _FLAGS}
        for option in options:
            size = _SIZE.fullmatch(option)
            if size and size[2] == "%" and memory is not None:
                found["dev_shm.size"] = Stated(memory * int(size[1]) // 100, "/etc/fstab", number)
            elif size and size[2] != "%":
                found["dev_shm.size"] = Stated(parse_size(size[1] + size[2]), "/etc/fstab", number)
    return found


_FLAGS = ("nodev", "nosuid", "noexec")


def parse_limits_conf(text: str, file: str) -> Iterator[Tuple[str, Stated]]:
    """Yield what limits.conf(5) says of POSIX queues and locked memory, for whomever."""
    for number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].split()
        if len(words) == 4 and words[2] in ("msgqueue", "memlock"):
            unit = 1024 if words[2] == "memlock" else 1
            if words[3] in _ENDLESS:
                yield "rlimit." + words[2], Stated(UNLIMITED, file, number)
            elif words[3].isdigit():
                yield "rlimit." + words[2], Stated(int(words[3]) * unit, file, number)


def read_machine(proc: Directory) -> Machine:
    """Return what of this host limits depend on."""
    _, release, arch = fs.version()
    try:
        text = proc.read("meminfo")
    except OSError:
        text = b""
    try:
        extended = parse_ipcmni_extended(proc.read("cmdline"))
    except OSError:
        extended = False
    return Machine(
        release=release_of(release),
        page_size=fs.page_size(),
        wide=is_wide(arch),
        ipcmni=IPCMNI_EXTENDED if extended else IPCMNI,
        memory=parse_meminfo(text),
        swap=parse_swap(text),
    )


def read_tuning(roots: Roots, policy: Policy, profiles: Sequence[str] = (), *, to_write: bool = False) -> Tuning:
    """Return the limits and what sets them. *profiles* are those of a request; without any they are the policy's.

    With *to_write* it also says which cannot be written from here. Raise InputError for a profile that
    there is not or that has no value here.
    """
    machine = read_machine(roots.proc)
    values, unread, gaps = _values(roots.proc)
    others = _resource_limits(roots.proc, unread)
    floors, names = read_floors(policy, profiles, machine)
    with roots.files() as root:
        tree = read_tree(root)
        stated = _stated(root, machine.memory)
    return Tuning(
        machine=machine,
        values=values,
        unread=unread,
        others=others,
        stated=stated,
        tree=tree,
        own="%s/%s" % (SYSCTL_D, policy["limits", "file"]),
        blocked=_blocked(roots.proc, values) if to_write else {},
        foreign=_foreign(roots.proc),
        floors=tuple(floors),
        profiles=names,
        gaps=(*gaps, *tree.gaps, *dict.fromkeys(gap for one in load(tree, KEYS).values() for gap in one.gaps)),
    )


def _values(proc: Directory) -> Tuple[Dict[str, Tuple[int, ...]], Dict[str, str], List[Gap]]:
    values: Dict[str, Tuple[int, ...]] = {}
    unread: Dict[str, str] = {}
    gaps: List[Gap] = []
    for key in KEYS:
        try:
            values[key] = parse_numbers(key, proc.read_record(path_of(key)))
        except FileNotFoundError:
            unread[key] = "this kernel has no %s" % key
        except (OSError, ValueError) as error:
            unread[key] = getattr(error, "strerror", None) or str(error)
            gaps.append(Gap(Evidence.LIMITS, key, unread[key]))
    return values, unread, gaps


def path_of(key: str) -> str:
    """Return the file of a sysctl below /proc."""
    return "sys/" + key.replace(".", "/")


def _resource_limits(proc: Directory, unread: Dict[str, str]) -> Dict[str, int]:
    try:
        limits = parse_rlimits(proc.read_record("self/limits"))
    except (OSError, ValueError) as error:
        limits = {}
        why = getattr(error, "strerror", None) or str(error)
        unread.update({"rlimit.msgqueue": why, "rlimit.memlock": why})
    names = ("msgqueue", "memlock")
    return {"rlimit." + name: UNLIMITED if limits[name][0] < 0 else limits[name][0] for name in names if name in limits}


def _foreign(proc: Directory) -> FrozenSet[str]:
    """Return which of our namespaces are not the host's first ones, as far as that is told."""
    found = set()
    if read_namespace(proc) not in (0, INITIAL_IPC_NAMESPACE):
        found.add("ipc")
    try:
        first: Optional[str] = proc.link("1/ns/net")
    except OSError:
        first = None
    if first is not None and first != proc.link("self/ns/net"):
        found.add("net")
    return frozenset(found)


def _blocked(proc: Directory, values: Dict[str, Tuple[int, ...]]) -> Dict[str, str]:
    """Return the sysctls that cannot be written from here; for who is not root only those that nobody could."""
    found: Dict[str, str] = {}
    for key in values:
        try:
            with proc.opened_to_write(path_of(key)):
                pass
        except OSError as error:
            if error.errno == errno.EROFS:
                found[key] = "/proc/sys is read-only here, as in most containers"
            elif fs.is_root():
                found[key] = "it cannot be written from here: %s" % (error.strerror or error)
    return found


def _stated(root: Directory, memory: Optional[int]) -> Dict[str, Stated]:
    """Return where the limits that are no sysctl are set for the next boot or login."""
    found = parse_fstab(_text(root, "etc/fstab"), memory)
    files = ["etc/security/limits.conf"]
    try:
        names = sorted(root.names("etc/security/limits.d"))
    except OSError:
        names = []
    files += ["etc/security/limits.d/" + name for name in names if name.endswith(".conf")]
    for path in files:
        found.update(parse_limits_conf(_text(root, path), "/" + path))
    return found


def _text(root: Directory, path: str) -> str:
    try:
        if not root.info(path, follow=True).is_regular:
            return ""
        return root.read(path).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


# ---------------------------------------------------------------- profiles


def read_profiles(policy: Policy) -> Dict[str, Profile]:
    """Return the profiles that there are by name: those shipped and the user's own. Raise InputError."""
    from ..limits.profiles import merged, parse_profiles
    from ..limits.shipped import PATH, TEXT

    found = parse_profiles(TEXT, PATH)
    directory = policy["limits", "profile_dir"]
    try:
        names = sorted(fs.listed(directory)) if directory else []
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise InputError("the directory of profiles '%s' cannot be read: %s" % (directory, error.strerror)) from error
    for name in names:
        if name.endswith(".conf"):
            path = "%s/%s" % (directory, name)
            try:
                found += parse_profiles(fs.read_text(path), path, path)
            except OSError as error:
                raise InputError("profiles '%s' cannot be read: %s" % (path, error.strerror)) from error
    return merged(found)


def read_floors(policy: Policy, profiles: Sequence[str], machine: Machine) -> Tuple[List[Floor], Tuple[str, ...]]:
    """Return what profiles ask for and which they are; without any the policy's. Raise InputError."""
    words = tuple(profiles) or tuple(policy["limits", "profiles"])
    floors: List[Floor] = []
    if not words:
        return floors, words
    from ..limits.formula import FormulaError  # most audits go by no profile
    from ..limits.profiles import floors_of, parse_wanted

    known = read_profiles(policy)
    for word in words:
        wanted = parse_wanted(word, known)
        try:
            floors += floors_of(known[wanted.name], wanted.terms, machine)
        except FormulaError as error:
            raise InputError(str(error)) from error
    return floors, words
