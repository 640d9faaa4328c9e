"""Run in a container: the job held and killed at moments that only a program hits. Prints JSON.

``python3 -I runs.py twice SCRIPT``: one run is stopped while its agent works, and another comes.
``python3 -I runs.py killed SCRIPT MS…``: all processes of a run are killed after so many milliseconds, each time.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from subprocess import PIPE


def start(script):
    """Start the job in a process group of its own."""
    return subprocess.Popen([script], start_new_session=True, stdout=PIPE, stderr=PIPE, text=True)


def ended(run):
    """Return how a run ended, and what it said."""
    out, err = run.communicate(timeout=60)
    return {"status": run.returncode, "out": out, "err": err}


def members(group):
    """Return the commands of a process group, and the process of each."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as file:
                name, _, rest = file.read().rpartition(") ")
        except OSError:
            continue
        if int(rest.split()[2]) == group:
            found[name.partition("(")[2]] = int(pid)
    return found


def twice(script):
    """Stop a run once its agent has begun, and tell what a second one does, and then the first."""
    first = start(script)
    agents = []
    while not agents:
        if first.poll() is not None:
            raise SystemExit("the run was too fast to be stopped")
        agents = [pid for name, pid in members(first.pid).items() if name.startswith("python")]
    os.killpg(first.pid, signal.SIGSTOP)
    nice = os.getpriority(os.PRIO_PROCESS, agents[0])
    idle = subprocess.run(["ionice", "-p", str(agents[0])], stdout=PIPE, text=True, check=True).stdout.strip()
    second = ended(start(script))
    again = first.poll()
    os.killpg(first.pid, signal.SIGCONT)
    return {"first": ended(first), "second": second, "first was at work": again is None, "nice": nice, "io": idle}


def killed(script, *moments):
    """Kill runs, and tell whether the lock is free each time, and the next run works."""
    found = []
    for moment in moments:
        run = start(script)
        time.sleep(int(moment) / 1000)
        reached = sorted(set(members(run.pid)))
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        while members(run.pid):
            time.sleep(0.001)
        free = True
        if os.path.exists(LOCK):
            with open(LOCK) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    free = False
        found.append({"reached": reached, "status": run.returncode, "free": free, "next": ended(start(script))})
    return found


LOCK = "/var/lib/ipcops/jobs/cleanup.lock"
print(json.dumps({"twice": twice, "killed": killed}[sys.argv[1]](*sys.argv[2:])))
