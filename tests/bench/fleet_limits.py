"""playbooks/limits.yml on ten hosts over SSH, beside a playbook that sets the same with ansible.posix.sysctl."""

from __future__ import annotations

import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fleet import Fleet, Machine, fleet

from .harness import LIMIT, ROOT, BenchError, Figure, Result, Timing, progress
from .limits import TASKS as BESIDE
from .limits import VALUES
from .plays import PLAYBOOK, timed

NAME = "fleet-limits"
ROUNDS = 3
HOSTS = 10
GOAL = 1 / 4
"""Of the time of the other playbook, in the first run and in the second: four times faster."""

LOOP, OURS = "ansible.posix.sysctl", "limits.yml"
FIRST, SECOND = "first run", "second run"

FILES = "/etc/sysctl.d/60-bench.conf /etc/sysctl.d/99-zz-ipcops.conf"
FRESH = f"rm -rf {FILES} /var/lib/ipcops; cd /proc/sys; while read -r key value; do echo $value >$key; done"


def run(rounds: int) -> Result:
    """Compare whole runs of ansible-playbook: from a fresh host, and once more."""
    if not PLAYBOOK.exists() or importlib.util.find_spec("ansible_collections.ansible.posix") is None:
        message = "ansible.posix is not installed: pip install --editable '.[bench]'"
        raise BenchError(message)
    try:
        with fleet({f"host{number}": Machine() for number in range(1, HOSTS + 1)}) as hosts:
            return _run(rounds, hosts)
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        raise BenchError(str(error)) from error


def _run(rounds: int, hosts: Fleet) -> Result:
    inventory = hosts.write_inventory(variables={"values": VALUES, "ipc_limits_values": VALUES})
    loop = hosts.place / "loop.json"
    play = {"hosts": "all", "gather_facts": False, "become": True}
    loop.write_text(json.dumps([{**play, "tasks": [BESIDE["a loop of ansible.posix.sysctl"]]}]), encoding="utf-8")
    books = {LOOP: loop, OURS: ROOT / "playbooks/limits.yml"}
    timings = {f"{name}, {which}": Timing() for which in (FIRST, SECOND) for name in books}
    spent = {name: [] for name in timings}
    defaults = _values(hosts)
    for turn in range(-1, rounds):  # the first warms the caches up
        for name, book in list(books.items())[:: -1 if turn % 2 else 1]:
            _make_fresh(hosts, defaults)
            for which in (FIRST, SECOND):
                seconds, cpu = timed(inventory, book, HOSTS)
                _check(hosts)
                if turn >= 0:
                    timings[f"{name}, {which}"].seconds.append(seconds)
                    spent[f"{name}, {which}"].append(cpu / HOSTS)
        progress(f"round {turn + 1} of {rounds}")
    progress("")
    setting = f"{len(VALUES)} limits on {HOSTS} hosts over SSH with pipelining, all on this machine"
    result = Result(NAME, setting, timings, base=f"{LOOP}, {FIRST}")
    for which in (FIRST, SECOND):
        ours, theirs = f"{OURS}, {which}", f"{LOOP}, {which}"
        ratio = result.ratio(ours, theirs)
        result.figures.append(Figure(f"{ours} / the same of {LOOP}", ratio, GOAL))
        cpu = [sorted(spent[name])[rounds // 2] * 1e3 for name in (theirs, ours)]
        result.notes.append(
            f"{which}: {1 / ratio:.1f} times faster; {cpu[1]:.0f} ms of the controller's processors for each host, "
            f"{cpu[0]:.0f} with {LOOP}"
        )
    result.notes.append(f"{LOOP} takes all hosts at once, {OURS} first one, then a tenth, then the others")
    return result


def _values(hosts: Fleet) -> str:
    """Return the limits of a fresh host, as FRESH takes them."""
    (box, *_) = hosts.boxes.values()
    names = " ".join(name.replace(".", "/") for name in VALUES)
    return box.exec("sh", "-c", f"cd /proc/sys; for one in {names}; do echo $one $(cat $one); done").stdout


def _make_fresh(hosts: Fleet, defaults: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda box: box.exec("sh", "-c", FRESH, input=defaults, timeout=LIMIT), hosts.boxes.values()))


def _check(hosts: Fleet) -> None:
    """Raise BenchError where a host is not as it was to be."""
    for name, box in hosts.boxes.items():
        found = box.exec("sh", "-c", f"cat /proc/sys/kernel/msgmni; cat {FILES} 2>/dev/null || :").stdout
        if found.split()[0] != str(VALUES["kernel.msgmni"]) or "kernel.msgmni" not in found:
            message = f"{name} is not as the playbook was to make it"
            raise BenchError(message)
