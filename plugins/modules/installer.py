#!/usr/bin/python
# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Look at what is installed on a host, and replace it: all or nothing (docs/adr/0013-install.md).

The action plugins ipc_agent and ipc_job send it and decide what is to be done; here it is done.
"""

DOCUMENTATION = r"""
module: installer
short_description: Look at what is installed on a host, and replace it
version_added: 0.1.0
description:
  - What M(ipcops.linux.ipc_agent) and M(ipcops.linux.ipc_job) do on a host. It is of no use in a task.
options:
  request:
    description: What is to be looked at or done.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: In check mode it is only asked to look.
  diff_mode:
    support: none
    description: The modules that send it have it.
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Never by itself
  ansible.builtin.debug:
    msg: See ipcops.linux.ipc_agent
"""

RETURN = r"""
answer:
  description: What was seen or done.
  type: dict
  returned: success
"""

import sys

ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""

NEW = ".ipcops-new-"
"""How a file is called that is to come. Cron reads no name with a dot first."""
OLD = ".ipcops-old-"
"""Likewise one that may have to come back."""
STATE = "/var/lib/ipcops"
"""Where journal and backups lie where a policy says nothing (``[clean] state`` in ipcops/core/policy)."""
RUNS = "/run/systemd/system"
"""A directory where systemd is the first process (sd_booted(3))."""


class Refusal(Exception):  # noqa: N818 - it is no defect
    """What stands in the way, for the user."""


def main():
    if sys.version_info < (3, 9):  # this file itself is read by any Python
        version = ".".join(str(number) for number in sys.version_info[:3])
        return (
            '{"failed": true, "msg": "ipcops needs Python 3.9 or newer on the host, and %s is %s;'
            ' set ansible_python_interpreter to a newer one"}' % (sys.executable, version)
        )
    import json
    import os

    os.umask(0o022)
    try:
        request = json.loads(ARGUMENTS)["request"]
        return json.dumps({"answer": {"look": look, "apply": apply, "uninstall": uninstall}[request["mode"]](request)})
    except Refusal as refusal:
        return json.dumps({"failed": True, "msg": str(refusal)})
    except OSError as error:
        return json.dumps({"failed": True, "msg": "%s; nothing was done" % failure(error)})
    except Exception as error:
        import traceback

        told = "a defect in ipcops: %s: %s; please report it with the output of -vvv" % (type(error).__name__, error)
        return json.dumps({"failed": True, "msg": told, "exception": traceback.format_exc()})


def failure(error):
    return "%s: %s" % (error.filename, error.strerror) if error.filename else str(error)


# ------------------------------------------------------------------ what is there


def look(request):
    """Return what there is. A *request* has the paths and what else the caller wants to know."""
    import glob
    import os

    lib = request["lib"]
    record = text_of(lib + "/installed")
    paths = set(request["paths"]).union(path for kind, path in lines(record) if kind != "directory")
    return {
        "uid": os.geteuid(),
        "record": record,
        "files": {path: seen(path, path in request["texts"]) for path in sorted(paths)},
        "directories": {path: mode_of(path) for path in request["directories"]},
        "foreign": [] if record is not None else children(lib),
        "agent": agent(request["agent"]) if request.get("agent") else None,
        "python": python(request["find_python"]) if request.get("find_python") else None,
        "systemd": os.path.isdir(RUNS),
        "cron": os.path.isdir("/etc/cron.d"),
        "timers": timers(request["timers"]) if request["timers"] and os.path.isdir(RUNS) else {},
        "litter": sorted(path for pattern in request["litter"] for path in glob.glob(pattern)),
        "exporter": exporter() if request.get("exporter") else None,
        "policy_state": policy_state(request["policy"]),
    }


def text_of(path):
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def lines(record):
    """Return the lines of a record as pairs: a checksum, or 'directory' or 'metrics', and a path."""
    return [tuple(line.split("\t", 1)) for line in (record or "").splitlines() if "\t" in line]


def seen(path, wanted):
    """Return what a file is; ``None`` where nothing is, and no checksum for what is no file."""
    import os
    import stat

    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None if not os.path.islink(path) else {"digest": None}
    if not stat.S_ISREG(found.st_mode):
        return {"digest": None}
    with open(path, "rb") as file:
        content = file.read()
    told = {"digest": digest(content), "mode": found.st_mode & 0o7777, "owner": [found.st_uid, found.st_gid]}
    if wanted and b"\0" not in content:
        told["text"] = content.decode("utf-8", "replace")
    return told


def digest(content):
    import hashlib

    return hashlib.sha256(content).hexdigest()


def mode_of(path):
    import os

    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [found.st_mode & 0o7777, found.st_uid, found.st_gid]


def children(lib):
    """Return what lies there, but for drafts of ours, which a run that was cut off left."""
    import os

    try:
        return sorted(name for name in os.listdir(lib) if not name.startswith((NEW, OLD)) and name != "installed.new")
    except (FileNotFoundError, NotADirectoryError):
        return []


def agent(place):
    """Return what an unpacked agent says it is, and whether all of it is as its checksums say."""
    listed = text_of(place["sums"]) or ""  # in any order
    whole = sums(place["tree"]).splitlines() == sorted(listed.splitlines(), key=lambda line: line.partition("  ./")[2])
    return {"stamp": text_of(place["tree"] + "/agent.sha256"), "whole": whole}


def sums(tree):
    """Return the checksums of all files of an unpacked agent, as sha256sum(1) writes them."""
    import os

    found = []
    for parent, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                found.append((os.path.relpath(path, tree), digest(file.read())))
    return "".join("%s  ./%s\n" % (whole, path) for path, whole in sorted(found))


def python(script):
    """Return the Python that the jobs will run the agent with, and for which it is compiled; or why there is none."""
    import subprocess

    tag = "import sys; print(sys.implementation.cache_tag)"
    script += '\nfind_python || { printf "%s" "$no_python"; exit 1; }\n'
    script += 'printf "%s\\n" "$python"; exec "$python" -I -S -c "$1"'
    told = subprocess.run(["/bin/sh", "-c", script, "sh", tag], check=False, stdout=subprocess.PIPE, text=True)
    if told.returncode:
        return {"why": told.stdout}
    path, tag = told.stdout.splitlines()
    return {"path": path, "tag": tag}


def timers(names):
    """Return of timers whether systemd starts them, now and after a boot, and whether it has read their files."""
    import subprocess

    shown = "--property=Id,UnitFileState,ActiveState,NeedDaemonReload"
    told = subprocess.run(["systemctl", "show", shown] + names, check=False, stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for block in told.split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        found[fields.get("Id", "")] = {
            "on": fields.get("UnitFileState") == "enabled" and fields.get("ActiveState") == "active",
            "stale": fields.get("NeedDaemonReload") == "yes",
        }
    return {name: found.get(name, {"on": False, "stale": False}) for name in names}


def exporter():
    """Return the directory that node_exporter was told to read, and one that is usual and there, or ``None``."""
    import contextlib
    import glob
    import os
    import re

    flag = re.compile(r"--collector\.textfile\.directory[=\s]+[\"']?(/[^\s\"']+)")
    settings = ["/etc/default/prometheus-node-exporter", "/etc/default/node_exporter", "/etc/sysconfig/node_exporter"]
    usual = ["/var/lib/prometheus/node-exporter", "/var/lib/node_exporter/textfile_collector", "/var/lib/node_exporter"]
    texts = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process may have ended
            words = (text_of(path) or "").split("\0")
            if os.path.basename(words[0]) in ("node_exporter", "prometheus-node-exporter"):
                texts.append(" ".join(words))
    texts += [re.sub(r"(?m)^\s*#.*", "", text_of(path) or "") for path in settings]
    found = [one.group(1) for one in map(flag.search, texts) if one]
    return {"told": found[0] if found else None, "there": next((path for path in usual if os.path.isdir(path)), None)}


def policy_state(path):
    """Return where journal and backups lie by the policy on this host; ``None`` where there is none, or a wrong one."""
    import configparser

    text = text_of(path)
    if text is None:
        return None
    parser = configparser.ConfigParser(interpolation=None, delimiters="=", strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    return parser.get("clean", "state", fallback="").rstrip("/") or STATE


# ------------------------------------------------------------------ all or nothing


class Change:
    """What was changed so far, and how it is put back."""

    def __init__(self):
        self.undo = []
        self.drafts = []
        self.old = []
        self.made = []

    def directory(self, path, mode):
        """Make a directory and those above it."""
        import os

        if os.path.isdir(path):
            return
        self.directory(os.path.dirname(path), 0o755)
        os.mkdir(path, mode)
        self.made.append(path)
        self.undo.append((os.rmdir, path))

    def draft(self, path, content, mode):
        """Write what is to be *path* beside it, and return where."""
        import os

        self.directory(os.path.dirname(path), 0o755)
        draft = beside(path, NEW)
        self.drafts.append(draft)
        with open(draft, "wb") as file:
            os.fchmod(file.fileno(), mode)
            os.fchown(file.fileno(), 0, 0)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return draft

    def replace(self, draft, path):
        """Put a draft into its place, whole."""
        import os

        old = beside(path, OLD)
        if os.path.isdir(path):
            os.rename(path, old)
            self.kept(old, path)
            os.rename(draft, path)
        elif os.path.lexists(path):
            remove(old)
            os.link(path, old, follow_symlinks=False)
            self.kept(old, path)
            os.replace(draft, path)
        else:
            os.rename(draft, path)
            self.undo.append((remove, path))
        self.drafts = [one for one in self.drafts if one != draft]

    def take_away(self, path):
        """Remove a file or directory so that it can come back."""
        import os

        if os.path.lexists(path):
            old = beside(path, OLD)
            os.rename(path, old)
            self.kept(old, path)

    def kept(self, old, path):
        """Remember where *path* lies until all is well."""
        import os

        self.old.append(old)

        def back(path):
            if os.path.isdir(old):
                remove(path)
            os.replace(old, path)

        self.undo.append((back, path))

    def finish(self, directories):
        """Forget how it was, and remove those *directories* that are empty then. All is done; the rest can wait."""
        import contextlib
        import os

        for path in self.old:
            with contextlib.suppress(OSError):
                remove(path)
        for path in directories:
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def put_back(self):
        """Undo everything, the last first; return what could not be."""
        import os

        failed = []
        drafts = [(remove, path) for path in self.drafts if os.path.lexists(path)]
        for step, path in drafts + self.undo[::-1]:
            try:
                step(path)
            except OSError as error:
                failed.append(failure(error))
        return failed


def beside(path, prefix):
    import os

    return os.path.join(os.path.dirname(path), prefix + os.path.basename(path))


def remove(path):
    import contextlib
    import os
    import shutil

    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def apply(request):
    """Do what a *request* says, or nothing; return what was done. Raise Refusal."""
    change = Change()
    try:
        with held(request):
            unchanged(request)
            answer = carry_out(request, change)
    except (OSError, Refusal) as error:
        why = failure(error) if isinstance(error, OSError) else str(error)
    except BaseException:
        put_back(request, change)
        raise
    else:
        change.finish(request["rmdir"])
        return answer
    left = put_back(request, change)
    if left:
        raise Refusal("%s; not everything could be put back: %s" % (why, "; ".join(left)))
    raise Refusal("%s; everything is as it was" % why)


def put_back(request, change):
    left = change.put_back()
    if request["systemd"] and request["reload"]:
        quiet("daemon-reload")
    return left


def unchanged(request):
    """Raise Refusal unless everything is as the caller saw it."""
    record = text_of(request["lib"] + "/installed")
    if record != request["record"]:
        raise Refusal("%s/installed was changed meanwhile by somebody else; run this again" % request["lib"])
    for path, was in request["before"].items():
        found = seen(path, wanted=False)
        if (found and found["digest"]) != was:
            raise Refusal("%s was changed meanwhile by somebody else; run this again" % path)


class held:  # noqa: N801 - as a function that is used in "with"
    """No job runs meanwhile, their locks are ours (templates/shell/job.sh.j2); nor does another of us."""

    def __init__(self, request):
        self.lib, self.pattern, self.seconds, self.files = request["lib"], request["locks"], request["wait"], []

    def __enter__(self):
        import fcntl
        import glob
        import os
        import time

        end = time.monotonic() + self.seconds
        place = os.path.dirname(self.lib)
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        for path in [place] + sorted(glob.glob(self.pattern)):
            file = os.open(path, os.O_RDONLY)
            self.files.append(file)
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    busy = time.monotonic() > end
                if busy:
                    self.__exit__()
                    what = "another installation" if path == place else "a job"
                    raise Refusal("%s has been running for %d s (%s); try again later" % (what, self.seconds, path))
                time.sleep(0.1)

    def __exit__(self, *error):
        import os

        for file in self.files:
            os.close(file)


def carry_out(request, change):

    sweep(request)
    for path, mode in request["directories"]:
        change.directory(path, mode)
    drafts = [(stage(one, change), one["path"]) for one in request["put"]]
    whole = None
    if request["agent"]:
        drafts += unpacked(request["agent"], change)
        whole = digest(text_of(drafts[-1][0]).encode())

    # The record comes first, so that a run that is cut off leaves nothing that nobody knows of.
    record = request["lib"] + "/installed"
    fresh = [(was or "-", path) for was, path in request["lines"]]
    write_record(change, record, lines(request["record"]) + [("directory", path) for path in change.made] + fresh)
    stopped = [name for name in request["stop"] if request["systemd"] and stop(name, change)]
    copies = [copy(path, request["backups"], change) for path in request["copy"]]
    for path, mode in request["chmod"]:
        protect(path, mode, change)
    for draft, path in drafts:
        change.replace(draft, path)
    for path in request["remove"]:
        change.take_away(path)
    label([path for _, path in drafts])
    started = start(request, change) if request["systemd"] else []
    final = [(whole or digest_of(path) if was is None else was, path) for was, path in request["lines"]]
    directories = {path for kind, path in lines(request["record"]) if kind == "directory"} | set(change.made)
    final += [("directory", path) for path in sorted(directories)]
    write_record(change, record, final + [("metrics", path) for path in request["metrics"]])
    return {"made": change.made, "copies": copies, "started": started, "stopped": stopped}


def sweep(request):
    """Remove what a run that was cut off left behind."""
    import glob
    import os

    paths = [path for _, path in lines(request["record"])] + list(request["before"]) + [request["lib"] + "/installed"]
    for place in {os.path.dirname(path) for path in paths}:
        for prefix in (NEW, OLD):
            for path in glob.glob(glob.escape(place + "/" + prefix) + "*"):
                remove(path)


def stage(one, change):
    """Write a draft, and have it judged by the program that will read it, where that is installed."""
    import base64
    import shutil
    import subprocess

    content = one["text"].encode("utf-8", "surrogateescape") if "text" in one else base64.b64decode(one["bytes"])
    draft = change.draft(one["path"], content, one["mode"])
    check = one.get("check")
    if check and shutil.which(check[0]):
        said = subprocess.run(check + [draft], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if said.returncode:
            raise Refusal("%s refuses %s: %s" % (check[0], one["path"], " ".join(said.stdout.split())))
    return draft


def unpacked(one, change):
    """Unpack and compile the agent beside its place; return the drafts of its tree and of the checksums."""
    import os
    import subprocess

    tree = beside(one["tree"], NEW)
    remove(tree)
    packed = beside(one["packed"], NEW)
    if not os.path.exists(packed):
        packed = one["packed"]
    change.drafts.append(tree)
    command = [one["python"], "-I", "-S", packed, "--unpack", tree, one["tree"]]
    said = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if said.returncode:
        raise Refusal(said.stdout.strip().replace("ipcops: ", "") or "the agent could not be unpacked")
    os.chmod(tree, 0o755)
    return [(tree, one["tree"]), (change.draft(one["sums"], sums(tree).encode(), 0o644), one["sums"])]


def write_record(change, path, content):
    text = "".join("%s\t%s\n" % line for line in dict.fromkeys(content))
    if text_of(path) != text:
        change.replace(change.draft(path, text.encode("utf-8", "surrogateescape"), 0o644), path)


def digest_of(path):
    found = seen(path, wanted=False)
    return found["digest"] if found else "-"


def copy(path, backups, change):
    """Keep what somebody wrote, and return where."""
    import os
    import shutil
    import time

    change.directory(os.path.dirname(backups), 0o700)
    change.directory(backups, 0o700)
    kept = "%s/%s.%s" % (backups, os.path.basename(path), time.strftime("%Y%m%dT%H%M%S"))
    change.undo.append((remove, kept))
    shutil.copy2(path, kept)
    return kept


def protect(path, mode, change):
    """Set mode and owner."""
    import os

    found = os.stat(path)

    def back(path):
        os.chown(path, found.st_uid, found.st_gid)
        os.chmod(path, found.st_mode & 0o7777)

    change.undo.append((back, path))
    os.chown(path, 0, 0)
    os.chmod(path, mode)


def label(paths):
    """Give files the SELinux types of their places; a file that was moved has that of where it was made."""
    import shutil
    import subprocess

    program = shutil.which("restorecon")
    if program and paths:
        subprocess.run([program, "-F", "-R"] + paths, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


# ------------------------------------------------------------------ systemd


def quiet(*words):
    """Return what systemctl said against it; nothing if it did it."""
    import subprocess

    told = subprocess.run(
        ["systemctl", "--quiet"] + list(words), check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return (told.stdout.strip() or "status %d" % told.returncode) if told.returncode else ""


def stop(name, change):
    """Stop a timer, if it is there, and forget when it last ran (Persistent= in systemd.timer(5))."""
    why = quiet("disable", "--now", name)
    if why:
        return False
    change.undo.append((again, name))
    remove("/var/lib/systemd/timers/stamp-" + name)
    return True


def again(name):
    quiet("daemon-reload")
    quiet("enable", "--now", name)


def start(request, change):
    """Have systemd read what changed and start timers; return which were started. Raise Refusal."""
    if request["reload"]:
        why = quiet("daemon-reload")
        if why:
            raise Refusal("systemctl daemon-reload failed: %s" % why)
    for name, ran in request["start"]:
        if ran:  # to see whether systemd takes its new file; if not, it runs again when the old one is back
            change.undo.insert(0, (again, name))
        else:
            change.undo.append((lambda name: quiet("disable", "--now", name), name))
        why = quiet("enable", "--now", name)
        if why:
            raise Refusal("%s could not be started: %s" % (name, " ".join(why.split())))
    return [name for name, ran in request["start"] if not ran]


# ------------------------------------------------------------------ the end


def uninstall(request):
    """Run install.sh --uninstall, and remove what it leaves if that is wanted. Raise Refusal."""
    import glob
    import os
    import subprocess
    import tempfile

    before = text_of(request["lib"] + "/installed")
    said = ""
    if before is not None:
        with tempfile.TemporaryDirectory() as place:
            script = place + "/install.sh"
            with open(script, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(request["script"])
            environment = {name: value for name, value in os.environ.items() if name != "DESTDIR"}
            done = subprocess.run(
                ["/bin/sh", script, "--uninstall"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                text=True,
            )
        said = done.stdout.replace("ipcops: ", "")
        if done.returncode:
            raise Refusal("; ".join(said.splitlines()))
    directories = [path for kind, path in lines(before) if kind == "directory"]
    for path in [path for pattern in request["purge"] for path in glob.glob(pattern)]:
        remove(path)
    for path in sorted(set(directories + request["rmdir"]), reverse=True):
        if os.path.isdir(path) and not os.path.ismount(path) and not os.listdir(path):
            os.rmdir(path)
    return {"said": said.splitlines()}


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")
