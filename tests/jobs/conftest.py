"""Hosts that are watched: where the jobs monitor and health run, for the files of both."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest

from .hosts import AWKWARD, SUITES, Host, bundle, cron, host, taken, together

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTFILES = "/var/lib/prometheus/node-exporter"
POLICY = """\
[scan]
unreadable_ok = init.scope
[audit]
orphan_age = 0
[clean]
{state}
[metrics]
kinds = shm sem msg posix-shm posix-sem posix-mq pipe unix inet fifo lock host
"""
SCHEDULES = ("schedule=* * * * *", "calendar=*:*:0/10", "spread=0")
JOBS = ("--no-cleanup", "--monitor", "--health")
EXPORTER = "61009"  # whose the directory is


class Watched(NamedTuple):
    """A host, and where its metrics and its policy are."""

    host: Host
    textfiles: str
    policy: str

    @property
    def page(self) -> str:
        """Return the metrics, or nothing where there are none."""
        return self.host.text(f"{self.textfiles}/ipcops.prom")

    def metrics(self) -> dict[str, float]:
        """Return their values, by series."""
        lines = [line for line in self.page.splitlines() if not line.startswith("#")]
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def _start(stack: ExitStack, suite: str, schedule: str, *, awkward: bool) -> Watched:
    places = {name: AWKWARD[name] for name in ("lib", "state", "log")} if awkward else {}
    if awkward:
        places["command"] = f"{AWKWARD['bin']}/ipcops"
    one = stack.enter_context(host(suite, systemd=schedule == "systemd", **places))
    textfiles = AWKWARD["textfiles"] if awkward else TEXTFILES
    one.sh('mkdir -p "$1" && chown "$2" "$1"', textfiles, EXPORTER)
    one.before = one.listing()
    settings = [f"{name}={value}" for name, value in AWKWARD.items() if name != "state"] if awkward else []
    state = f"state = {AWKWARD['state']}" if awkward else ""
    one.bring(bundle(*SCHEDULES, *settings, policy=POLICY.format(state=state)))
    one.plant()
    one.install(f"--{schedule}", *JOBS)
    if schedule == "cron":
        cron(one)
    one.wait(lambda: one.result("monitor") and one.result("health"), "both jobs", 90)
    return Watched(one, textfiles, AWKWARD["policy"] if awkward else "/etc/ipcops/ipcops.conf")


@pytest.fixture(scope="package")
def hosts():
    """Give a host of each suite where systemd has started the jobs, one with awkward paths, and one where cron has."""
    with ExitStack() as stack:
        works = {
            suite: lambda suite=suite: _start(stack, suite, "systemd", awkward=suite == SUITES[0]) for suite in SUITES
        }
        yield together({**works, "cron": lambda: _start(stack, "bookworm", "cron", awkward=False)})


def _on(hosts, names):
    """Give what proves something on some of them at once."""

    def prove(proof: Callable[[Watched], None]) -> None:
        done = together({name: lambda name=name: proof(taken(hosts[name])) for name in names})
        for name in names:
            taken(done[name])

    return prove


@pytest.fixture
def everywhere(hosts):
    """Give what proves something on each host."""
    return _on(hosts, (*SUITES, "cron"))


@pytest.fixture
def with_systemd(hosts):
    """Give what proves something on each host where systemd starts the jobs."""
    return _on(hosts, SUITES)


@pytest.fixture
def with_each(hosts):
    """Give what proves something on one host with systemd, and on the one with cron."""
    return _on(hosts, (SUITES[-1], "cron"))


@pytest.fixture
def with_cron(hosts):
    """Give the one where cron starts them."""
    return taken(hosts["cron"])
