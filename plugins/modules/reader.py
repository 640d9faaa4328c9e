#!/usr/bin/python
# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring along what a host keeps of its own health. The action plugin of ipc_health sends it, nobody else does.

It judges nothing. It reads what the job monitor wrote, and where that is not fresh asks the agent that is installed, so
that one round trip is enough. A plain script, as the carrier is (docs/adr/0012-carrier.md).
"""

DOCUMENTATION = r"""
module: reader
short_description: Bring along what a host keeps of its own health
version_added: 0.1.0
description:
  - What M(ipcops.linux.ipc_health) reads hosts with. It is of no use in a task.
options:
  lib:
    description: Where the agent and the record of what was installed lie.
    type: path
    required: true
  policy:
    description: The policy file.
    type: path
    required: true
  states:
    description: Where the jobs note how they ended, unless the record tells.
    type: path
  textfiles:
    description: The directory of the monitor's page, unless the record tells.
    type: path
  max_age:
    description: Seconds up to which that page is fresh. Else the agent is asked.
    type: float
    required: true
  request:
    description: What is asked of the agent.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: It changes nothing.
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Never by itself
  ansible.builtin.debug:
    msg: See ipcops.linux.ipc_health
"""

RETURN = r"""
monitor:
  description: The monitor's page, or why it could not be read, and the time of its scan.
  type: dict
  returned: success
jobs:
  description: Of each job what it noted of its last run, and since when it is scheduled.
  type: dict
  returned: success
policy:
  description: The text of the policy file, or why it could not be read.
  type: dict
  returned: success
kernel:
  description: What the agent answered, or why it did not. Empty if it was not asked.
  type: dict
  returned: success
"""

import os
import sys
import time

ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""

STATES = "/var/lib/ipcops/jobs"
TEXTFILES = "/var/lib/prometheus/node-exporter"
JOBS = ("cleanup", "monitor", "health")
SCHEDULES = ("/etc/cron.d/ipcops-%s", "/etc/systemd/system/ipcops-%s.timer")
SCANNED = b"ipcops_scan_timestamp_seconds "
MOST = 4000000  # bytes of a page, a hundred times what a large one has


def main():
    import json

    arguments = json.loads(ARGUMENTS)
    lines = recorded(arguments["lib"])
    pages = [line[1] for line in lines if line[0] == "metrics"] or [os.path.join(TEXTFILES, "ipcops.prom")]
    made = [line[1] for line in lines if line[0] == "directory" and line[1].endswith("/jobs")] or [STATES]
    given = arguments.get("textfiles")
    path = os.path.join(given, "ipcops.prom") if given else pages[-1]
    now = time.time()
    monitor, fresh = read_page(path, now, arguments["max_age"])
    system = os.uname()
    answer = {
        "host": {"hostname": system[1], "kernel": system[2], "arch": system[4]},
        "now": now,
        "monitor": monitor,
        "policy": read(arguments["policy"]),
        "jobs": jobs(arguments.get("states") or made[-1], [line[1] for line in lines], arguments["lib"]),
        "kernel": {} if fresh else asked(os.path.join(arguments["lib"], "agent"), arguments["request"]),
    }
    return json.dumps(answer)


def read(path):
    """Return the text of a file, nothing where there is none, or why it could not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # nobody can have us wait at a FIFO
        try:
            content = whole(descriptor)
        finally:
            os.close(descriptor)
    except (IOError, OSError) as error:  # noqa: UP024  # two classes in Python 2
        return {} if error.errno == 2 else {"why": error.strerror}
    if len(content) > MOST:
        return {"why": "it has more than %d bytes" % MOST}
    return {"text": content.decode("utf-8", "replace")}


def whole(descriptor):
    chunks, size = [], 0
    while size <= MOST:
        chunk = os.read(descriptor, 1 << 20)
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def recorded(lib):
    """Return the lines of the installer's record: a checksum or a word, and a path."""
    text = read(os.path.join(lib, "installed")).get("text", "")
    return [line.split("\t", 1) for line in text.splitlines() if "\t" in line]


def read_page(path, now, max_age):
    """Return what the monitor left, and whether it is fresh."""
    page = read(path)
    page["path"] = path
    lines = [line for line in page.get("text", "").encode("utf-8").split(b"\n") if line.startswith(SCANNED)]
    try:
        page["scanned_at"] = float(lines[0][len(SCANNED) :])
    except (IndexError, ValueError):
        return page, False  # the text comes along: it is to be told what is wrong with it
    fresh = 0 <= now - page["scanned_at"] <= max_age
    if not fresh:
        del page["text"]
    return page, fresh


def jobs(states, installed, lib):
    """Return of each job that is scheduled, or ever ran, what it noted last and since when it is scheduled."""
    found = {}
    for name in JOBS:
        noted = read(os.path.join(states, name + ".json"))
        since = [
            changed(path % name, os.path.join(lib, "installed"))
            for path in SCHEDULES
            if os.path.exists(path % name) or path % name in installed
        ]
        if noted or since:
            noted["scheduled_at"] = max(since) if since else None
            found[name] = noted
    return found


def changed(path, record):
    """Return when a schedule was installed; by the record where the schedule itself is gone."""
    for one in (path, record):
        try:
            return os.stat(one).st_mtime
        except OSError:
            pass
    return time.time()


def asked(agent, request):
    """Return the agent's report, or why there is none: then the core has to be carried here."""
    if sys.version_info < (3, 9) or not os.path.exists(os.path.join(agent, "core")):
        return {"why": None}  # whoever carries it tells of an old Python
    import gc

    gc.disable()  # one short run that only grows
    sys.dont_write_bytecode = True
    sys.path.insert(0, agent)
    try:
        from core.errors import IpcopsError
        from core.run import run

        try:
            return {"report": run(request)}
        except IpcopsError as error:
            return {"why": str(error)}
    except Exception as error:
        return {"why": "the agent in %s is damaged: %s: %s" % (agent, type(error).__name__, error)}


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")
