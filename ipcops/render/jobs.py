"""The jobs that cron or a systemd timer starts: what tells one from another."""

from __future__ import annotations

from typing import NamedTuple


class Job(NamedTuple):
    """One job."""

    script: str
    """Its file."""
    about: str
    """What it does, as the description of a unit."""
    cron: str
    """When cron starts it, unless told otherwise (crontab(5))."""
    calendar: str
    """When a timer does (systemd.time(7))."""
    spread: int
    """Seconds by which hosts may differ."""


JOBS = {
    "cleanup": Job(
        script="ipc-cleanup.sh",
        about="Remove abandoned IPC objects, as the policy of ipcops says",
        cron="17 3 * * *",
        calendar="*-*-* 03:17:00",
        spread=1800,
    ),
    "monitor": Job(
        script="ipc-monitor.sh",
        about="Write metrics of IPC for node_exporter",
        cron="* * * * *",
        calendar="*-*-* *:*:00",
        spread=30,
    ),
    "health": Job(
        script="ipc-health.sh",
        about="Tell what is wrong with IPC on this host",
        cron="23 6 * * *",
        calendar="*-*-* 06:23:00",
        spread=1800,
    ),
}
