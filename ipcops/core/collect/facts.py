"""Settings of the host that concern its IPC: how the kernel was started, Yama, systemd-logind."""

from __future__ import annotations

import re
from typing import List, Optional, Tuple

from ..fs import Directory
from ..model import Evidence, Facts, Gap
from .limits import parse_limit
from .systemd import read_remove_ipc

_WORD = rb'(?:[^\s"]|"[^"]*(?:"|\Z))+'


def parse_ipcmni_extended(cmdline: bytes) -> bool:
    """Return whether the kernel was started with ``ipcmni_extend`` (Documentation/admin-guide/kernel-parameters.txt).

    What follows ``--`` is for init; quotes keep a value together; ``-`` and ``_`` are the same (kernel/params.c).
    """
    for word in re.findall(_WORD, cmdline):
        if word == b"--":
            return False
        if word.strip(b'"').partition(b"=")[0].replace(b"-", b"_") == b"ipcmni_extend":
            return True
    return False


def read_facts(proc: Directory, root: Directory) -> Tuple[Facts, List[Gap]]:
    """Return what the rules about the host ask, but for the FIFOs that are declared, and what was not seen.

    *root* is the directory that paths begin at.
    """
    gaps: List[Gap] = []

    def gap(what: str, error: Exception) -> None:
        gaps.append(Gap(Evidence.SETTINGS, what, getattr(error, "strerror", None) or str(error)))

    ptrace_scope: Optional[int] = None
    try:
        ptrace_scope = parse_limit("kernel.yama.ptrace_scope", proc.read_record("sys/kernel/yama/ptrace_scope"))
    except FileNotFoundError:
        pass  # a kernel without Yama
    except (OSError, ValueError) as error:
        gap("kernel.yama.ptrace_scope", error)
    extended = False
    try:
        extended = parse_ipcmni_extended(proc.read("cmdline"))
    except OSError as error:
        gap("/proc/cmdline", error)
    remove_ipc, missing = read_remove_ipc(root)
    return Facts(remove_ipc=remove_ipc, ptrace_scope=ptrace_scope, ipcmni_extended=extended), gaps + missing
