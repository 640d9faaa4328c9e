"""Starts the agent. The builder puts this file into it as ``__main__.py``, beside the core as one archive.

Run as it is, the core comes from the archive in memory. ``--unpack DIR`` puts it there as files, compiled,
which starts several times faster; ``--compare DIR`` tells whether what lies there is this agent's.

A Python that is too old for the core must get as far as the test of its version: the syntax here is that of 3.0.
"""

import sys

TOO_OLD = 75
"""What a script that looks for a Python takes as "try the next one"; EX_TEMPFAIL of sysexits.h."""

if sys.version_info < (3, 9):
    sys.stderr.write("ipcops: needs Python 3.9 or newer; %s is %s\n" % (sys.executable, sys.version.split()[0]))
    sys.exit(TOO_OLD)

import io
import os
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Optional

NAME = "core.tar.bz2"
STAMP = "agent.sha256"
"""What an unpacked agent says of the archive that it came from, and of the Python that it was compiled for."""

LAUNCH = '''"""Starts the agent; see core/agent.py."""

import gc
import os
import sys

if sys.version_info < (3, 9):
    sys.stderr.write("ipcops: needs Python 3.9 or newer; %s is %s\\n" % (sys.executable, sys.version.split()[0]))
    sys.exit(75)

gc.disable()  # before the first import: a run that only grows, and is short

from core.agent import main

status = main(name="ipcops")
try:
    sys.stdout.flush()
except (AttributeError, OSError):
    pass  # told already, or closed
os._exit(status)  # all is written; taking the interpreter down would cost as much as a twentieth of a run
'''


def archive() -> bytes:
    """Return the bytes of the core's archive; this file lies in a zip file beside it."""
    import zipfile

    with zipfile.ZipFile(os.path.dirname(os.path.abspath(__file__))) as whole:
        return whole.read(NAME)


def files(packed: bytes) -> dict[str, bytes]:
    """Return the files of the core by their path: ``core/agent.py``."""
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:bz2") as opened:
        found = {member.name: opened.extractfile(member) for member in opened}
        return {name: content.read() for name, content in found.items() if content is not None}


def stamp(packed: bytes) -> str:
    """Return what tells an unpacked agent from any other."""
    import hashlib

    return "%s %s\n" % (hashlib.sha256(packed).hexdigest(), sys.implementation.cache_tag)


def wanted(packed: bytes) -> dict[str, bytes]:
    """Return every file that an unpacked agent has but for what the compiler makes."""
    found = files(packed)
    found["__main__.py"] = LAUNCH.encode("ascii")
    found[STAMP] = stamp(packed).encode("ascii")
    return found


def unpack(directory: str, final: str) -> None:
    """Put the core into a new *directory*, compiled as what will lie in *final*."""
    import compileall
    import py_compile

    for path, content in sorted(wanted(archive()).items()):
        target = os.path.join(directory, path)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        with open(target, "xb") as file:
            file.write(content)
        os.chmod(target, 0o644)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH  # nobody edits these: a start need not stat each source
    if not compileall.compile_dir(directory, quiet=1, ddir=final, invalidation_mode=mode):
        raise OSError("the core could not be compiled")


def compare(directory: str) -> list[str]:
    """Return what differs in *directory*, one line each: nothing if this agent lies there."""
    found = wanted(archive())
    differing = []
    for path, content in sorted(found.items()):
        try:
            with open(os.path.join(directory, path), "rb") as file:
                if file.read() != content:
                    differing.append("%s is not as it was installed" % os.path.join(directory, path))
        except OSError as error:
            differing.append("%s: %s" % (os.path.join(directory, path), error.strerror))
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.relpath(os.path.join(parent, name), directory)
            if path not in found and os.path.basename(parent) != "__pycache__":
                differing.append("%s does not belong there" % os.path.join(directory, path))
    return differing


class Finder:
    """Imports the core from memory."""

    def __init__(self, sources: dict[str, bytes]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: object = None, target: object = None) -> Optional[ModuleSpec]:  # noqa: ARG002
        """Return how a module of the core is made; ``None`` for any other (importlib.abc.MetaPathFinder)."""
        for file, package in (("/__init__.py", True), (".py", False)):
            origin = name.replace(".", "/") + file
            if origin in self.sources:
                return ModuleSpec(name, self, origin=origin, is_package=package)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the import system (importlib.abc.Loader)."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module (importlib.abc.Loader)."""
        origin = str(module.__spec__ and module.__spec__.origin)
        exec(compile(self.sources[origin], origin, "exec", dont_inherit=True), module.__dict__)

    def get_source(self, name: str) -> str:
        """Return a module's source, for tracebacks."""
        spec = self.find_spec(name)
        return self.sources[spec.origin].decode("utf-8") if spec is not None and spec.origin else ""


def main(words: list[str]) -> int:
    """Run one of our own two commands, or the agent's. Return the exit status."""
    if words[:1] == ["--unpack"] and len(words) in (2, 3):
        try:
            unpack(words[1], words[-1])
        except OSError as error:
            sys.stderr.write("ipcops: cannot unpack the agent into '%s': %s\n" % (words[1], error))
            return 4
        return 0
    if words[:1] == ["--compare"] and len(words) == 2:
        differing = compare(words[1])
        sys.stdout.write("".join(line + "\n" for line in differing))
        return 4 if differing else 0
    sys.meta_path.insert(0, Finder(files(archive())))
    from core.agent import main as run  # type: ignore[import-not-found]

    return int(run(name="ipcops"))


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except ImportError as error:
        sys.stderr.write("ipcops: this Python is not whole (%s); Debian: apt install python3\n" % error)
        status = 3
    sys.exit(status)
