"""A fleet for Ansible: containers that are reached by SSH as any host is, with limits of their own that can be set.

``fleet({"db1": Machine("bookworm"), …})`` starts them at once and removes them whatever happens. Each has its
own address in a network of this machine's, its own IPC namespace and its own limits.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests import containers

if TYPE_CHECKING:
    from collections.abc import Iterator

# What root of a host has and the jobs use; systemd, cron and sshd need the last two.
CAPABILITIES = (
    "SYS_ADMIN", "SYS_PTRACE", "IPC_OWNER", "DAC_READ_SEARCH", "NET_ADMIN", "MKNOD", "AUDIT_CONTROL", "AUDIT_WRITE",
)  # fmt: skip

# No host key is remembered: an address is another container's tomorrow. A control socket has a short path.
SSH = {
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
    "LogLevel": "ERROR",
    "ControlMaster": "auto",
    "ControlPersist": "60s",
}


class Machine(NamedTuple):
    """How an instance is to be."""

    suite: str = "bookworm"
    systemd: bool = False
    writable: bool = True  # its limits


class Fleet:
    """Machines that run, and how Ansible reaches them."""

    def __init__(self, boxes: dict[str, containers.Container], machines: Mapping[str, Machine], place: Path) -> None:
        """Keep the key and the control sockets in a directory of their own, which is made."""
        self.boxes, self.machines, self.place = boxes, machines, place
        self.key = place / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)

    def let_in(self, name: str) -> None:
        """Have a machine take our key, and its sshd connections."""
        public = self.key.with_suffix(".pub").read_text()
        script = "mkdir -p -m 700 /root/.ssh /run/sshd && cat >/root/.ssh/authorized_keys"
        script += "" if self.machines[name].systemd else " && /usr/sbin/sshd"
        self.boxes[name].exec("sh", "-c", script, input=public)

    def variables(self, name: str, connection: str = "ssh") -> dict[str, Any]:
        """Return the variables of a host for Ansible's inventory; the other connection is ``podman``."""
        box, python = self.boxes[name], {"ansible_python_interpreter": "/usr/bin/python3"}
        if connection == "podman":
            return {
                **python,
                "ansible_connection": "containers.podman.podman",
                "ansible_host": box.name,
                "ansible_podman_executable": box.podman.words[0],
                "ansible_podman_extra_args": shlex.join(box.podman.words[1:]),
            }
        options = {**SSH, "ControlPath": f"{self.place}/%C"}
        return {
            **python,
            "ansible_host": box.address(),
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_args": shlex.join(word for one in options.items() for word in ("-o", "=".join(one))),
            "ansible_pipelining": True,
        }

    def inventory(
        self, groups: Mapping[str, tuple[str, ...]] | None = None, variables: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return an inventory, which as JSON is one for Ansible; *variables* are every host's."""
        hosts = {name: self.variables(name) for name in self.boxes}
        children = {name: {"hosts": dict.fromkeys(members)} for name, members in (groups or {}).items()}
        return {"all": {"hosts": hosts, "children": children, "vars": variables or {}}}

    def write_inventory(
        self, groups: Mapping[str, tuple[str, ...]] | None = None, variables: Mapping[str, Any] | None = None
    ) -> Path:
        """Write it, and return where."""
        path = self.place / "hosts.json"
        path.write_text(json.dumps(self.inventory(groups, variables), indent=1))
        return path

    def close(self) -> None:
        """End the connections that ssh keeps for the next task."""
        for socket in self.place.iterdir():
            if socket.is_socket():
                command = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any"]
                subprocess.run(command, check=False, capture_output=True)


@contextmanager
def _forwarding_as_it_was() -> Iterator[None]:
    """Let this machine forward packets no more than before: podman switches it on, and machines here need it not."""
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    before = switch.read_text()
    try:
        yield
    finally:
        if before.strip() == "0" and switch.read_text() != before:
            switch.write_text(before)


@contextmanager
def fleet(machines: Mapping[str, Machine], place: Path | None = None) -> Iterator[Fleet]:
    """Start machines, all at once, and wait until they can be reached; remove them in the end."""
    if os.geteuid() != 0:
        pytest.skip("root of a container of an ordinary user is not root of a host")
    for program in ("ssh", "ssh-keygen"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    for suite in {one.suite for one in machines.values()}:
        containers.image(suite)
    name = containers.network()
    with ExitStack() as stack:
        stack.enter_context(_forwarding_as_it_was())
        # Not below a deep directory: the path of a socket has 108 bytes.
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ipcops-"))) if place is None else place
        pool = stack.enter_context(ThreadPoolExecutor(8))

        def start(machine: Machine) -> containers.Container:
            return stack.enter_context(
                containers.container(
                    machine.suite,
                    systemd=machine.systemd,
                    network=name,
                    capabilities=CAPABILITIES,
                    writable_limits=machine.writable,
                )
            )

        boxes = dict(zip(machines, pool.map(start, machines.values()), strict=True))
        found = Fleet(boxes, machines, own)
        list(pool.map(found.let_in, boxes))
        stack.callback(found.close)
        yield found
