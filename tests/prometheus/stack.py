"""Debian's node_exporter, Prometheus and Alertmanager, for real, in a world with a network of its own.

Everything listens on the loopback device of that network, keeps its data in the world's directory
and runs as a uid of its own; all of it ends with the world. Scrapes and evaluations come twice a
second, so that a story of alerts takes seconds.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import servers, world

EXPORTER, PROMETHEUS, ALERTMANAGER, RECEIVER = 9100, 9090, 9093, 9099
UID = world.GONE + 7  # who runs the servers: nobody of the stories

CONFIG = f"""\
global:
  scrape_interval: 500ms
  evaluation_interval: 500ms
rule_files: [rules.yml]
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["127.0.0.1:{EXPORTER}"]}}]
alerting:
  alertmanagers:
    - static_configs: [{{targets: ["127.0.0.1:{ALERTMANAGER}"]}}]
"""
ROUTES = f"""\
route:
  receiver: on-call
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
receivers:
  - name: on-call
    webhook_configs: [{{url: "http://127.0.0.1:{RECEIVER}/", send_resolved: true}}]
"""


def program(name: str) -> str:
    """Return the path of a program of Debian's packages; skip the test where it is missing."""
    path = shutil.which(name, path=servers.PATH)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def promtool(*words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool on files, or on a text."""
    return subprocess.run(
        [program("promtool"), *words], input=text, capture_output=True, text=True, check=False, timeout=60
    )


class Stack:
    """The three servers, and a receiver of what Alertmanager sends."""

    def __init__(self, rules: str) -> None:
        """Write the configuration. *rules* are the alert rules."""
        programs = [program(name) for name in ("prometheus-node-exporter", "prometheus", "prometheus-alertmanager")]
        world.needs_root()
        servers.private_network()
        self.place = world.here() / "monitoring"
        self.place.mkdir()
        self.textfile = self.place / "textfile" / "ipcops.prom"
        self.textfile.parent.mkdir()  # root's, as node_exporter only reads it
        for name, text in (("rules.yml", rules), ("prometheus.yml", CONFIG), ("alertmanager.yml", ROUTES)):
            (self.place / name).write_text(text)
        self._programs = programs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._notified = self.place / "notified"

    def start(self) -> None:
        """Start everything and wait until it answers."""
        exporter, prometheus, alertmanager = self._programs
        notified = self._notified.open("ab", buffering=0)

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notified.write(self.rfile.read(int(self.headers["Content-Length"])).strip() + b"\n")
                self.send_response(200)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", RECEIVER), Receiver)
        world.spawn(then=lambda _: server.serve_forever(), uid=UID)
        server.server_close()
        self._start(
            exporter,
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={self.textfile.parent}",
            f"--web.listen-address=127.0.0.1:{EXPORTER}",
        )
        self._start(
            alertmanager,
            f"--config.file={self.place}/alertmanager.yml",
            f"--storage.path={self._data('alertmanager')}",
            f"--web.listen-address=127.0.0.1:{ALERTMANAGER}",
            "--cluster.listen-address=",
        )
        self._start(
            prometheus,
            f"--config.file={self.place}/prometheus.yml",
            f"--storage.tsdb.path={self._data('prometheus')}",
            f"--web.listen-address=127.0.0.1:{PROMETHEUS}",
        )
        for port, path in ((EXPORTER, "/metrics"), (ALERTMANAGER, "/-/ready"), (PROMETHEUS, "/-/ready")):
            world.wait_until(lambda port=port, path=path: self._answers(port, path), f"port {port} answers", 30)

    def _start(self, path: str, *words: str) -> None:
        name = Path(path).name
        self._running[name] = servers.start(path, *words, uid=UID, log=self.place / f"{name}.log", cwd=self.place)

    def _data(self, name: str) -> Path:
        directory = self.place / f"{name}-data"
        directory.mkdir()
        shutil.chown(directory, UID, UID)
        return directory

    def _answers(self, port: int, path: str) -> bool:
        for name, process in self._running.items():
            assert process.poll() is None, f"{name} ended:\n{(self.place / f'{name}.log').read_text()[-3000:]}"
        with suppress(OSError):
            get(port, path)
            return True
        return False

    # --- what it says

    def served(self) -> str:
        """Return what node_exporter serves."""
        return get(EXPORTER, "/metrics")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression, now."""
        answer = json.loads(get(PROMETHEUS, "/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return Prometheus' own view of the rules."""
        groups = json.loads(get(PROMETHEUS, "/api/v1/rules"))["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """Return the alerts that fire in Prometheus, by name."""
        alerts = json.loads(get(PROMETHEUS, "/api/v1/alerts"))["data"]["alerts"]
        return _by_name([alert for alert in alerts if alert["state"] == "firing"])

    def alerted(self) -> dict[str, list[dict[str, Any]]]:
        """Return the alerts that are active in Alertmanager, by name."""
        return _by_name(json.loads(get(ALERTMANAGER, "/api/v2/alerts?active=true")))

    def notified(self, name: str) -> list[str]:
        """Return what was sent about an alert, in order, each state once: firing, resolved."""
        states: list[str] = []
        for line in self._notified.read_text().splitlines():
            for alert in json.loads(line)["alerts"]:
                if alert["labels"]["alertname"] == name and states[-1:] != [alert["status"]]:
                    states.append(alert["status"])
        return states


def get(port: int, path: str) -> str:
    """Return what a server of this world answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def _by_name(alerts: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for alert in alerts:
        found.setdefault(alert["labels"]["alertname"], []).append(alert)
    return found
