"""The only opener of files: directories below given roots, and what can be read in them.

Everything goes through directory descriptors. A descriptor of ``/proc/PID`` keeps meaning
that very process: when it dies and the number is given to another one, reads fail with
ESRCH instead of telling about the stranger (fs/proc/base.c).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Container, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

from .errors import UndeterminedError, WriteError
from .tuples import NamedTuple

CHUNK = 1 << 16
RECORD = 1 << 13
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_THROUGH = os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW


class FileInfo(NamedTuple):
    """What lstat(2) says of a file. Sizes in bytes, times in epoch seconds."""

    dev: int
    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    size: int
    blocks: int
    atime: int
    mtime: int
    ctime: int

    @property
    def is_regular(self) -> bool:
        """Whether it is a plain file."""
        return stat.S_ISREG(self.mode)


class Space(NamedTuple):
    """What statvfs(3) says of a file system: bytes and inodes, all of them and the used ones."""

    size: int
    used: int
    files: int
    files_used: int


def _info(result: os.stat_result) -> FileInfo:
    return FileInfo(
        dev=result.st_dev,
        ino=result.st_ino,
        mode=result.st_mode,
        nlink=result.st_nlink,
        uid=result.st_uid,
        gid=result.st_gid,
        size=result.st_size,
        blocks=result.st_blocks * 512,
        atime=int(result.st_atime),
        mtime=int(result.st_mtime),
        ctime=int(result.st_ctime),
    )


def _type(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_file(follow_symlinks=False):
            return "file"
        if entry.is_dir(follow_symlinks=False):
            return "directory"
        return "link" if entry.is_symlink() else "other"
    except OSError:
        return "other"  # of no known type, and whoever asks for it is told why


class Directory:
    """An open directory. Every method raises OSError as the kernel does."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def open(cls, path: str) -> Directory:
        """Open the directory at *path*."""
        return cls(os.open(path, _DIRECTORY))

    def directory(self, name: str) -> Directory:
        """Open a directory in this one."""
        return Directory(os.open(name, _DIRECTORY, dir_fd=self.fd))

    def descend(self, names: Sequence[str]) -> Directory:
        """Open a directory below this one, at least one name down, that leaves no trace of being listed.

        No name on the way may be a link: ENOTDIR. Only the owner and root can leave atime as it was (open(2):
        O_NOATIME); what cleans old files away goes by it (tmpfiles.d(5)).
        """
        held = self.fd
        try:
            for name in names[:-1]:
                fd = os.open(name, _THROUGH, dir_fd=held)
                if held != self.fd:
                    os.close(held)
                held = fd
            try:
                fd = os.open(names[-1], _DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME, dir_fd=held)
            except PermissionError:
                fd = os.open(names[-1], _DIRECTORY | os.O_NOFOLLOW, dir_fd=held)
        finally:
            if held != self.fd:
                os.close(held)
        return Directory(fd)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    def __enter__(self) -> Directory:  # noqa: PYI034  # Python 3.9 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, name: str) -> bytes:
        """Return the whole content of a file; pseudo files are read until they end, not by size."""
        fd = os.open(name, _READ, dir_fd=self.fd)
        try:
            chunks = []
            chunk = os.read(fd, CHUNK)
            while chunk:
                chunks.append(chunk)
                chunk = os.read(fd, CHUNK)
        finally:
            os.close(fd)
        return b"".join(chunks)

    def read_record(self, name: str) -> bytes:
        """Return the content of a small pseudo file that the kernel gives in one piece.

        It saves the read that finds the end; a longer one (thousands of groups) is read on.
        """
        fd = os.open(name, _READ, dir_fd=self.fd)
        try:
            text = os.read(fd, RECORD)
            while len(text) % RECORD == 0:
                more = os.read(fd, RECORD)
                if not more:
                    break
                text += more
            return text
        finally:
            os.close(fd)

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """Return at most *size* bytes of a file from *offset* on; for /proc/PID/mem, where offsets are addresses.

        Less where the memory behind it ends: then what is there up to the end of that page.
        """
        fd = os.open(name, _READ, dir_fd=self.fd)
        try:
            return os.pread(fd, size, offset)
        finally:
            os.close(fd)

    def links(self) -> Iterator[Tuple[str, str]]:
        """Yield name and target of every symbolic link in this directory; what goes meanwhile is left out."""
        fd, readlink = self.fd, os.readlink
        for name in os.listdir(fd):
            try:
                yield name, readlink(name, dir_fd=fd)
            except FileNotFoundError:
                continue

    def link(self, name: str) -> str:
        """Return where a symbolic link points."""
        return os.readlink(name, dir_fd=self.fd)

    def names(self, name: str = "") -> List[str]:
        """Return the names in this directory, or in one below it."""
        if not name:
            return os.listdir(self.fd)
        fd = os.open(name, _DIRECTORY, dir_fd=self.fd)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def entries(self, untouched: Container[str] = ()) -> Iterator[Tuple[str, str]]:
        """Yield name and type of what is in this directory: ``file``, ``directory``, ``link`` or ``other``.

        The types are those that the directory itself tells, so no file is asked about. Where it tells
        none (readdir(3): DT_UNKNOWN) lstat(2) does. *untouched* are names to leave out and alone.
        """
        with os.scandir(self.fd) as found:
            for entry in found:
                name = entry.name
                if name not in untouched:
                    yield name, _type(entry)

    def info(self, name: str, *, follow: bool = False) -> FileInfo:
        """Return what stat(2) says of a name; a link is followed only with *follow*."""
        return _info(os.stat(name, dir_fd=self.fd, follow_symlinks=follow))

    def own_info(self) -> FileInfo:
        """Return what stat(2) says of this directory itself."""
        return _info(os.fstat(self.fd))

    def space(self) -> Space:
        """Return how full the file system of this directory is."""
        result = os.fstatvfs(self.fd)
        return Space(
            size=result.f_blocks * result.f_frsize,
            used=(result.f_blocks - result.f_bfree) * result.f_frsize,
            files=result.f_files,
            files_used=result.f_files - result.f_ffree,
        )

    @contextlib.contextmanager
    def opened(self, name: str, *, follow: bool = False) -> Iterator[int]:
        """Open a file read-only for a system call that wants a descriptor; nothing is read."""
        fd = os.open(name, _READ | (0 if follow else os.O_NOFOLLOW), dir_fd=self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def opened_quietly(self, name: str) -> Iterator[int]:
        """Open a file, never a link, to read it and leave its atime as it is where we may (open(2): O_NOATIME)."""
        try:
            fd = os.open(name, _READ | os.O_NOFOLLOW | os.O_NOATIME, dir_fd=self.fd)
        except PermissionError:
            fd = os.open(name, _READ | os.O_NOFOLLOW, dir_fd=self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def opened_to_write(self, name: str) -> Iterator[int]:
        """Open a file that is there for writing, never a link; nothing in it goes."""
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY, dir_fd=self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def write_record(self, name: str, data: bytes) -> None:
        """Write to a small pseudo file, in one call: the kernel takes each write for a value of its own."""
        with self.opened_to_write(name) as fd:
            os.write(fd, data)

    def create(self, name: str) -> int:
        """Make a file, 0600, and return its descriptor; FileExistsError where anything has the name."""
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self.fd)

    def create_unnamed(self) -> int:
        """Make a file, 0600, that goes with its descriptor unless :meth:`give_name` names it (open(2): O_TMPFILE)."""
        return os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=self.fd)

    def give_name(self, fd: int, name: str) -> None:
        """Let a file without a name appear in this directory; FileExistsError where anything has the name."""
        os.link("/proc/self/fd/%d" % fd, name, dst_dir_fd=self.fd, follow_symlinks=True)

    # ------------------------------------------------------------- what changes files

    def make(self, name: str, mode: int = 0o700) -> None:
        """Make a directory, which only its owner may look into; one that is there stays as it is."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=self.fd)

    def open_own(self, name: str, *, append: bool = False) -> int:
        """Open a file of ours for reading and writing, made 0600 where there is none; never a link."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        return os.open(name, flags | (os.O_APPEND if append else 0), 0o600, dir_fd=self.fd)

    def replace_whole(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """Give a file of ours new content, whole or not at all, and lasting when this returns."""
        draft = name + ".new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=self.fd)  # of a run that was killed
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.fd)
        try:
            try:
                write_all(fd, data)
                os.fchmod(fd, mode)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(draft, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            os.unlink(draft, dir_fd=self.fd)
            raise
        os.fsync(self.fd)

    def publish(self, name: str, data: bytes) -> None:
        """Give a file that others read new content, 0644, whole or not at all; nothing else is left if that fails.

        Several may do this at once: the last is what stays. It need not outlast a crash: the next run writes it anew.
        """
        draft = ".ipcops-%d" % os.getpid()
        try:
            try:
                self._draft(draft, data, unnamed=True)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EEXIST):
                    raise
                with contextlib.suppress(FileNotFoundError):
                    self.unlink(draft)  # of a run of this number that was killed
                self._draft(draft, data, unnamed=False)
            self.rename(draft, name)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                self.unlink(draft)
            raise

    def _draft(self, name: str, data: bytes, *, unnamed: bool) -> None:
        """Make a file of that name; *unnamed*: none is left by a run that is killed, where the file system can that."""
        fd = self.create_unnamed() if unnamed else self.create(name)
        try:
            write_all(fd, data)
            os.fchmod(fd, 0o644)
            if unnamed:
                self.give_name(fd, name)
        finally:
            os.close(fd)

    def pin(self, name: str) -> int:
        """Return a descriptor that means the file of this name, and not what a link leads to; nothing is opened."""
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)

    def rename(self, old: str, new: str) -> None:
        """Rename a file of this directory; what *new* was is gone."""
        os.replace(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        """Remove a name from this directory; a directory's name stays: EISDIR."""
        os.unlink(name, dir_fd=self.fd)

    def sync(self) -> None:
        """Let the names in this directory last, as fsync(2) does."""
        os.fsync(self.fd)


class Roots(NamedTuple):
    """Where the host's directories are. Tests give a captured tree instead."""

    proc: Directory
    shm_path: str = "/dev/shm"
    foreign: bool = False
    """Whether this /proc shows another PID namespace than the one we, and the kernel's answers to us, are in."""
    files_path: str = "/"
    """Where the paths of files begin."""

    def shm(self) -> Directory:
        """Open the directory of POSIX shared memory."""
        return Directory.open(self.shm_path)

    def files(self) -> Directory:
        """Open the directory that the paths of files begin at."""
        return Directory.open(self.files_path)


def host_roots() -> Roots:
    """Return the roots of this very machine. Raise UndeterminedError where there is no /proc."""
    try:
        proc = Directory.open("/proc")
    except OSError as error:
        why = "/proc cannot be opened (%s); ipcops needs Linux with /proc mounted" % error.strerror
        raise UndeterminedError(why) from error
    return Roots(proc, foreign=not _shows_us(proc))


def _shows_us(proc: Directory) -> bool:
    try:
        return proc.link("self") == str(os.getpid())
    except OSError:
        return False


def read_text(path: str) -> str:
    """Return the text of a file that the user named; bytes that are not UTF-8 survive."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def listed(path: str) -> List[str]:
    """Return the names in a directory that the user named. Raise OSError."""
    return os.listdir(path)


def write_whole(path: str, pieces: Iterable[Union[str, bytes]]) -> None:
    """Write *pieces*, text or bytes, to *path*, whole or not at all.

    A device or a pipe is written straight; a file is written beside and renamed over.
    Raise WriteError with the reason.
    """
    try:
        special = os.path.exists(path) and not os.path.isfile(path)
        if special:
            with open(path, "wb") as target:
                target.writelines(map(_bytes, pieces))
            return
        import tempfile  # a terminal or a pipe needs none of it

        real = os.path.realpath(path)
        mode = stat.S_IMODE(os.stat(real).st_mode) if os.path.exists(real) else 0o666 & ~_umask()
        fd, draft = tempfile.mkstemp(dir=os.path.dirname(real) or ".", prefix=".ipcops-")
        try:
            with open(fd, "wb") as target:
                target.writelines(map(_bytes, pieces))
                target.flush()
                os.fchmod(target.fileno(), mode)
                os.fsync(target.fileno())
            os.replace(draft, real)
        except BaseException:
            os.unlink(draft)
            raise
    except OSError as error:
        raise WriteError(
            "cannot write '%s': %s; nothing was left there half-written" % (path, error.strerror)
        ) from error


def _bytes(piece: Union[str, bytes]) -> bytes:
    return piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogateescape")


class Textfile:
    """A file that a collector reads: its directory, held open from before the work to the end of it."""

    def __init__(self, path: str) -> None:
        """Raise WriteError where the file can never be written."""
        self.path = path
        above, self.name = os.path.split(path)
        with self._told(path):
            self.directory = Directory.open(above or ".")
            with contextlib.suppress(FileNotFoundError):
                if not self.name or not self.directory.info(self.name).is_regular:
                    raise OSError(errno.EINVAL, "it is there and is no regular file")

    def replace(self, pieces: Iterable[str]) -> None:
        """Replace it whole. Raise WriteError."""
        with self._told(self.path):
            self.directory.publish(self.name, "".join(pieces).encode())

    @staticmethod
    @contextlib.contextmanager
    def _told(path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriteError("cannot write the textfile '%s': %s" % (path, error.strerror)) from error


def write_all(fd: int, data: bytes) -> None:
    """Write all of *data*, however many calls it takes. Raise OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def set_pinned_mode(fd: int, mode: int) -> None:
    """Set the mode of a file behind a descriptor of any sort (open(2): O_PATH)."""
    os.chmod("/proc/self/fd/%d" % fd, mode)


def set_pinned_owner(fd: int, uid: int, gid: int) -> None:
    """Set the owner of a file behind a descriptor of any sort."""
    os.chown("/proc/self/fd/%d" % fd, uid, gid)


def make_directories(path: str) -> None:
    """Make a directory and those above it, each only for its owner; what is there stays as it is. Raise OSError."""
    if not os.path.isdir(path):
        above = os.path.dirname(path.rstrip("/"))
        if above and above != path:
            make_directories(above)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def find_program(name: str, places: Sequence[str] = ()) -> Optional[str]:
    """Return the path of a program in PATH or, after it, in one of *places*."""
    for place in (*os.environ.get("PATH", os.defpath).split(os.pathsep), *places):
        path = os.path.join(place, name)
        if place.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def open_named(path: str) -> int:
    """Open a file that the user named for reading; never a link, and never waiting for a FIFO. Raise OSError."""
    return os.open(path, _READ | os.O_NOFOLLOW)


def extended_attributes(fd: int) -> List[str]:
    """Return the names of a file's extended attributes; none where its file system has none (xattr(7))."""
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def environment(name: str) -> Optional[str]:
    """Return an environment variable."""
    return os.environ.get(name)


def version() -> Tuple[str, str, str]:
    """Return host name, kernel release and machine, as uname(2) gives them."""
    name = os.uname()
    return name.nodename, name.release, name.machine


def page_size() -> int:
    """Return the size of a page in bytes."""
    return os.sysconf("SC_PAGE_SIZE")


def clock_ticks() -> int:
    """Return how many ticks of /proc/PID/stat make a second."""
    return os.sysconf("SC_CLK_TCK")


def is_root() -> bool:
    """Return whether the effective user is root."""
    return os.geteuid() == 0
