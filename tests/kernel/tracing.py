"""Holds a program at its system calls: to end it there, to fail one, or to change the world behind its back.

Through ptrace(2), of a child that calls a function of ours; so nothing need be started anew for
each of hundreds of runs. A process is held at the entry of a call: the call has not been made yet,
and one that is ended there does not make it. A state of the world can only follow from a call that
changes something, so the entries of those (``Call.changes``) are all the states there are.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests import world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# include/uapi/linux/ptrace.h, seccomp.h and bpf_common.h
_TRACEME, _POKEUSER, _CONT = 0, 6, 7
_SETOPTIONS, _SETREGSET, _GET_SYSCALL_INFO = 0x4200, 0x4205, 0x420E
_TRACESECCOMP, _EXITKILL = 1 << 7, 1 << 20
_EVENT_SECCOMP = 7
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_RET_TRACE, _RET_ALLOW = 0x7FF00000, 0x7FFF0000
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_WALL = 0x40000000
_REGISTERS = {"x86_64": (15 * 8, 10 * 8)}  # orig_rax and rax in struct user_regs_struct
_PRSTATUS, _ARM_CALL = 1, 0x404

_NUMBERS = {
    "x86_64": {
        1: "write", 18: "pwrite64", 20: "writev", 40: "sendfile", 44: "sendto", 46: "sendmsg", 73: "flock",
        74: "fsync", 75: "fdatasync", 77: "ftruncate", 82: "rename", 83: "mkdir", 86: "link", 87: "unlink",
        90: "chmod", 91: "fchmod", 92: "chown", 93: "fchown", 257: "openat", 258: "mkdirat", 260: "fchownat",
        263: "unlinkat", 264: "renameat", 265: "linkat", 268: "fchmodat", 280: "utimensat", 285: "fallocate",
        316: "renameat2", 326: "copy_file_range", 29: "shmget", 30: "shmat", 31: "shmctl", 64: "semget",
        65: "semop", 66: "semctl", 67: "shmdt", 68: "msgget", 69: "msgsnd", 70: "msgrcv", 71: "msgctl",
        240: "mq_open", 241: "mq_unlink", 76: "truncate", 84: "rmdir",
    },
    "aarch64": {
        64: "write", 68: "pwrite64", 66: "writev", 71: "sendfile", 206: "sendto", 211: "sendmsg", 32: "flock",
        82: "fsync", 83: "fdatasync", 46: "ftruncate", 52: "fchmod", 55: "fchown", 56: "openat", 34: "mkdirat",
        54: "fchownat", 35: "unlinkat", 38: "renameat", 37: "linkat", 53: "fchmodat", 88: "utimensat",
        47: "fallocate", 276: "renameat2", 285: "copy_file_range", 194: "shmget", 196: "shmat", 195: "shmctl",
        190: "semget", 193: "semop", 191: "semctl", 197: "shmdt", 186: "msgget", 189: "msgsnd", 188: "msgrcv",
        187: "msgctl", 180: "mq_open", 181: "mq_unlink", 45: "truncate",
    },
}  # fmt: skip

_COMMANDS = {"shmctl": 1, "msgctl": 1, "semctl": 2}  # where the command stands
_IPC_RMID, _IPC_SET = 0, 1
_O_CHANGING = os.O_CREAT | os.O_TRUNC | (os.O_TMPFILE & ~os.O_DIRECTORY)
_QUIET = ("msgrcv", "flock")  # with MSG_COPY nothing is taken from a queue; a lock goes with its process


class Call(NamedTuple):
    """A system call that is about to be made; ``name`` is '' for one that never changes anything."""

    name: str
    args: tuple[int, ...]

    @property
    def changes(self) -> bool:
        """Whether it may change a file or an object."""
        if self.name in _COMMANDS:
            return self.args[_COMMANDS[self.name]] in (_IPC_RMID, _IPC_SET, world.SETVAL, world.SETALL)
        if self.name == "openat":
            return bool(self.args[2] & _O_CHANGING)
        return self.name not in ("", *_QUIET)

    @property
    def removes(self) -> bool:
        """Whether it removes a System V object or a name."""
        if self.name in _COMMANDS:
            return self.args[_COMMANDS[self.name]] == _IPC_RMID
        return self.name in ("unlink", "unlinkat", "mq_unlink")


class _Info(ctypes.Structure):
    """struct ptrace_syscall_info, as far as an entry needs it."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
        ("more", ctypes.c_uint64),
    )


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_ptrace.restype = ctypes.c_long


def _ask(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _ptrace(request, pid, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


def _stop_at(numbers: Iterable[int] | None) -> None:
    """Let this process be held at these system calls from now on, or at all."""
    code = [(_LOAD, 0, 0, 0)]  # the number of the call
    chosen = list(numbers or ())
    code += [(_JUMP_EQUAL, len(chosen) - at, 0, number) for at, number in enumerate(chosen)]
    code += [(_RETURN, 0, 0, _RET_TRACE if numbers is None else _RET_ALLOW), (_RETURN, 0, 0, _RET_TRACE)]
    program = _Filter(len(code), b"".join(struct.pack("=HBBI", *one) for one in code))
    world.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    address = ctypes.c_void_p(ctypes.addressof(program))
    if _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), address, 0, 0) == -1:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


class Traced:
    """A child that runs a function and is held at those of its system calls that can change something, or at all."""

    def __init__(self, function: Callable[[], int], *, everywhere: bool = False) -> None:
        """Start it; its exit status will be what the function returns, 70 when that raises."""
        machine = os.uname().machine
        if machine not in _NUMBERS:
            pytest.skip(f"the system call numbers of {machine} are not known to this test")
        self._names = _NUMBERS[machine]
        self._info = _Info()
        self.status: int | None = None
        """The exit status, or the number of the signal that ended it, negative."""
        self.pid = os.fork()
        if self.pid == 0:
            self._be(function, None if everywhere else self._names)
        _, state = os.waitpid(self.pid, os.WUNTRACED | _WALL)
        if not os.WIFSTOPPED(state):
            pytest.skip("not allowed to trace a process here")
        try:
            _ask(_SETOPTIONS, self.pid, 0, _TRACESECCOMP | _EXITKILL)
        except OSError as error:
            self.kill()
            pytest.skip(f"not allowed to trace a process here: {error}")

    def _be(self, function: Callable[[], int], stops: Iterable[int] | None) -> None:
        status = 70
        try:
            world.prctl(world.PR_SET_PDEATHSIG, signal.SIGKILL)
            try:
                _ask(_TRACEME, 0)
            except OSError:
                os._exit(71)
            os.kill(os.getpid(), signal.SIGSTOP)
            _stop_at(stops)
            status = function()
        except BaseException:  # noqa: BLE001 - told to the tracer by the status
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def calls(self) -> Iterator[Call]:
        """Go from system call to system call; the process is held while the caller has one."""
        deliver = 0
        while self.status is None:
            stopped, event = self._go_on(deliver)
            deliver = 0
            if event == _EVENT_SECCOMP:
                size = ctypes.sizeof(self._info)
                if _ptrace(_GET_SYSCALL_INFO, self.pid, size, ctypes.addressof(self._info)) == -1:
                    pytest.skip(f"this kernel does not tell of system calls: {os.strerror(ctypes.get_errno())}")
                yield Call(self._names.get(self._info.number, ""), tuple(self._info.args))
            else:
                deliver = stopped

    def changing(self) -> Iterator[Call]:
        """Go through the calls that change something."""
        return (call for call in self.calls() if call.changes)

    def run(self) -> int:
        """Let it run to its end; return its status."""
        for _ in self.calls():
            pass
        assert self.status is not None
        return self.status

    def kill(self) -> None:
        """End it where it is held."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        while self.status is None:
            self._wait()

    def fail(self, number: int) -> None:
        """Let the call at whose entry it is held fail with an errno, without being made."""
        if (registers := _REGISTERS.get(os.uname().machine)) is not None:
            _ask(_POKEUSER, self.pid, registers[0], ctypes.c_uint64(-1).value)
            _ask(_POKEUSER, self.pid, registers[1], ctypes.c_uint64(-number).value)
            return
        for kind, value in ((_ARM_CALL, ctypes.c_int32(-1)), (_PRSTATUS, ctypes.c_int64(-number))):
            vector = _Iovec(ctypes.addressof(value), ctypes.sizeof(value))  # the first registers only
            _ask(_SETREGSET, self.pid, kind, ctypes.addressof(vector))

    def path(self, descriptor: int) -> str:
        """Return the path behind one of its descriptors, '' when there is none."""
        try:
            return os.readlink(f"/proc/{self.pid}/fd/{ctypes.c_int32(descriptor & 0xFFFFFFFF).value}")
        except OSError:
            return ""

    def text(self, address: int) -> str:
        """Return the text at one of its addresses."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return os.fsdecode(memory.read(256).split(b"\0")[0])

    def _go_on(self, deliver: int) -> tuple[int, int]:
        try:
            _ask(_CONT, self.pid, 0, deliver)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise
        return self._wait()

    def _wait(self) -> tuple[int, int]:
        """Return the signal and the event it stopped with; zeros when it has ended."""
        _, state = os.waitpid(self.pid, _WALL)
        if os.WIFSTOPPED(state):
            return os.WSTOPSIG(state), state >> 16
        self.status = os.waitstatus_to_exitcode(state)
        return 0, 0
