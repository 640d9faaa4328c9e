"""Ten kernel limits in one task with ipc_limits, beside a loop of ansible.posix.sysctl."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

from .harness import ROOT, BenchError, Command, Figure, Result, measure

NAME = "limits"
ROUNDS = 5
GOAL = 1 / 5
"""Of the time of the loop: five times faster."""

VALUES = {
    "kernel.shmmni": 8192,
    "kernel.msgmni": 32001,
    "kernel.msgmax": 65536,
    "kernel.msgmnb": 65536,
    "kernel.sem": "32000 1024000000 600 32001",
    "fs.mqueue.queues_max": 512,
    "fs.mqueue.msg_max": 64,
    "fs.mqueue.msgsize_max": 16384,
    "fs.mqueue.msg_default": 20,
    "fs.mqueue.msgsize_default": 8200,
}
"""Each above its default, so that every run has all of them to set."""

LOOP, OURS, LEAST, START = "a loop of ansible.posix.sysctl", "ipc_limits", "ping", "no module"
TASKS = {
    LOOP: {
        "ansible.posix.sysctl": {
            "name": "{{ item.key }}",
            "value": "{{ item.value }}",
            "sysctl_file": "/etc/sysctl.d/60-bench.conf",
            "sysctl_set": True,
        },
        "loop": "{{ values | dict2items }}",
    },
    OURS: {"ipcops.linux.ipc_limits": {"values": "{{ values }}"}},
    LEAST: {"ansible.builtin.ping": {}},
    START: {"ansible.builtin.debug": {"msg": ""}},
}

# Namespaces of its own for each run: the kernel's defaults, no sysctl files, no state.
INSIDE = """
mount -t tmpfs -o mode=755 tmpfs /etc/sysctl.d && mount -t tmpfs -o mode=755 tmpfs /var/lib &&
"$@" && [ "$(cat /proc/sys/kernel/msgmni)" = "$EXPECTED" ]
"""


def run(rounds: int) -> Result:
    """Compare whole runs of ansible-playbook, and what is left of them without its own start."""
    playbook = Path(sys.executable).with_name("ansible-playbook")
    if os.geteuid():
        message = "only root may set limits"
        raise BenchError(message)
    if not playbook.exists() or importlib.util.find_spec("ansible_collections.ansible.posix") is None:
        message = "ansible.posix is not installed: pip install --editable '.[bench]'"
        raise BenchError(message)
    with tempfile.TemporaryDirectory() as place:
        commands = [_command(name, task, playbook, Path(place)) for name, task in TASKS.items()]
        timings = measure(commands, rounds)
    setting = f"{len(VALUES)} limits of a new IPC namespace, set by ansible-playbook on this machine"
    result = Result(NAME, setting, timings, base=LOOP)
    result.compare(OURS, GOAL)
    alone = {name: timing.median - timings[START].median for name, timing in timings.items() if timing.seconds}
    if {LOOP, OURS, START} <= set(alone) and alone[LOOP] > 0:
        share = alone[OURS] / alone[LOOP]
        result.figures.append(Figure(f"the same without the start of Ansible ({START})", share, GOAL))
        result.notes.append(f"without Ansible's start: {1 / share:.1f} times faster")
        if LEAST in alone:
            least = f"{alone[LEAST] * 1e3:.0f} ms"
            result.notes.append(f"{LEAST}, the least that a module of Ansible's own kind takes: {least}")
    ratio = result.ratio(OURS)
    if ratio:
        result.notes.append(f"as a whole: {1 / ratio:.1f} times faster")
    return result


def _command(name: str, task: dict, playbook: Path, place: Path) -> Command:
    book = place / f"{len(list(place.iterdir()))}.json"
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": {"values": VALUES}}
    book.write_text(json.dumps([{**play, "tasks": [task]}]), encoding="utf-8")
    sets = name in (LOOP, OURS)
    env = {
        "EXPECTED": str(VALUES["kernel.msgmni"] if sets else 32000),
        "HOME": str(place / "home"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "ipcops/_collections"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    }
    argv = ("unshare", "--ipc", "--mount", "sh", "-c", INSIDE, "sh", str(playbook), str(book))
    return Command(name, argv, env=tuple(env.items()))
