"""playbooks/site.yml on ten hosts over SSH, beside a playbook that does the same with a task for each thing."""

from __future__ import annotations

import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ipcops.bundle import contents
from tests.fleet import Fleet, Machine, fleet
from tests.jobs.hosts import bundle

from .fleet_limits import FIRST, SECOND
from .harness import LIMIT, ROOT, BenchError, Figure, Result, Timing, progress
from .limits import VALUES
from .plays import PLAYBOOK, timed

if TYPE_CHECKING:
    from pathlib import Path

NAME = "fleet-site"
ROUNDS = 3
HOSTS = 10
GOAL = 1 / 3
"""Of the time of the other playbook, in the second run: three times faster."""

BESIDE, OURS = "sysctl, file, copy, template and cron", "site.yml"
TEXTFILES = "/var/lib/prometheus/node-exporter"
LIB = "/usr/local/lib/ipcops"
DIRECTORIES = {
    LIB: "755",
    "/etc/ipcops": "755",
    "/var/lib/ipcops": "700",
    "/var/lib/ipcops/jobs": "700",
    "/var/log/ipcops": "755",
}
JOBS = {"cleanup": {"minute": "17", "hour": "3"}, "monitor": {}}
TEMPLATES = ("logrotate.d/ipcops", "ipc-cleanup.sh", "ipc-monitor.sh")
"""What is rendered on the way, as far as that goes; the other files are copied."""
WANTED = (
    "/etc/cron.d/ipcops-cleanup",
    "/etc/cron.d/ipcops-monitor",
    f"{LIB}/agent/__main__.py",
    "/usr/local/sbin/ipcops",
)
SITE = {
    "ipc_limits_values": VALUES,
    "ipc_cleanup_schedule": "cron",
    "ipc_cleanup_apply": True,
    "ipc_monitor_schedule": "cron",
}

FRESH = f"""
if [ -e {LIB}/install.sh ]; then sh {LIB}/install.sh --uninstall; fi
rm -rf {LIB} /etc/ipcops /var/lib/ipcops /var/log/ipcops /usr/local/sbin/ipcops /etc/logrotate.d/ipcops
rm -rf /etc/cron.d/ipcops-* /etc/sysctl.d/60-bench.conf /etc/sysctl.d/99-zz-ipcops.conf {TEXTFILES}/ipcops.prom
cd /proc/sys; while read -r key value; do echo $value >$key; done
"""


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
    inventory = hosts.write_inventory(variables=SITE)
    books = {BESIDE: _beside(hosts.place), OURS: ROOT / "playbooks/site.yml"}
    timings = {f"{name}, {which}": Timing() for which in (FIRST, SECOND) for name in books}
    spent: dict[str, list[float]] = {name: [] for name in timings}
    names = " ".join(name.replace(".", "/") for name in VALUES)
    defaults = _on_all(
        hosts, f"mkdir -p {TEXTFILES}; cd /proc/sys; for one in {names}; do echo $one $(cat $one); done"
    )[0]
    for turn in range(-1, rounds):  # the first warms the caches up
        for name, book in list(books.items())[:: -1 if turn % 2 else 1]:
            _on_all(hosts, FRESH, defaults)
            for which in (FIRST, SECOND):
                seconds, cpu = timed(inventory, book, HOSTS)
                _on_all(
                    hosts, f"ls {' '.join(WANTED)} && grep -q '^{VALUES['kernel.msgmni']}$' /proc/sys/kernel/msgmni"
                )
                if turn >= 0:
                    timings[f"{name}, {which}"].seconds.append(seconds)
                    spent[f"{name}, {which}"].append(cpu / HOSTS)
        progress(f"round {turn + 1} of {rounds}")
    progress("")
    setting = f"limits, agent, cleanup and monitor on {HOSTS} hosts over SSH with pipelining, all on this machine"
    result = Result(NAME, setting, timings, base=f"{BESIDE}, {FIRST}")
    for which in (FIRST, SECOND):
        ours, theirs = f"{OURS}, {which}", f"{BESIDE}, {which}"
        ratio = result.ratio(ours, theirs)
        if ratio is None:
            continue
        if which == SECOND:
            result.figures.append(Figure(f"{ours} / the same of {BESIDE}", ratio, GOAL))
        cpu = [sorted(spent[name])[rounds // 2] * 1e3 for name in (theirs, ours)]
        result.notes.append(
            f"{which}: {1 / ratio:.1f} times faster; {cpu[1]:.0f} ms of the controller's processors for each host, "
            f"{cpu[0]:.0f} with {BESIDE}"
        )
    result.notes.append(f"{BESIDE} take all hosts at once; {OURS} takes first one, then a tenth, then the others")
    result.notes.append(f"{OURS} also asserts that all is well, and sums that up")
    return result


def _beside(place: Path) -> Path:
    """Return a playbook with a task for each thing."""
    given = bundle()
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.file": {"path": path, "state": "directory", "mode": f"0{mode}"}}
        for path, mode in DIRECTORIES.items()
    ]
    tasks += [
        {
            "ansible.posix.sysctl": {
                "name": name,
                "value": str(value),
                "sysctl_file": "/etc/sysctl.d/60-bench.conf",
                "sysctl_set": True,
            }
        }
        for name, value in VALUES.items()
    ]
    agent = f"{LIB}/ipcops-agent.pyz"
    tasks.append({"ansible.builtin.copy": {"src": str(given / "ipcops-agent.pyz"), "dest": agent, "mode": "0644"}})
    unpack = {"argv": ["/usr/bin/python3", "-I", agent, "--unpack", f"{LIB}/agent"], "creates": f"{LIB}/agent"}
    tasks.append({"ansible.builtin.command": unpack})
    for file in contents.files({}):
        if file.source == "install.sh" or file.source.startswith(("slurm", "ipc-health")) or "-" in file.purpose:
            continue
        if file.source in TEMPLATES:
            source = place / f"{file.source.replace('/', '-')}.j2"
            source.write_text(f"{{% raw %}}{file.text}{{% endraw %}}\n")
            how = "template"
        else:
            source, how = given / file.source, "copy"
        tasks.append({f"ansible.builtin.{how}": {"src": str(source), "dest": file.target, "mode": f"0{file.mode}"}})
    for name, when in JOBS.items():
        about = {"name": name, "cron_file": f"ipcops-{name}", "user": "root", "job": f"{LIB}/ipc-{name}.sh --spread"}
        tasks.append({"ansible.builtin.cron": {**about, **when}})
    book = place / "beside.json"
    book.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "become": True, "tasks": tasks}]))
    return book


def _on_all(hosts: Fleet, script: str, text: str | None = None) -> list[str]:
    """Run a script on each host, which must not fail, and return what they said."""
    with ThreadPoolExecutor(4) as pool:
        boxes = hosts.boxes.values()
        return [
            one.stdout for one in pool.map(lambda box: box.exec("sh", "-ec", script, input=text, timeout=LIMIT), boxes)
        ]
