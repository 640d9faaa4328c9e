"""What the reader makes of a host's sysctl files; trees of files stand for hosts.

These run on Python 3.9, too.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.collect import sysctld
from ipcops.core.fs import Directory
from ipcops.core.limits.loaders import CONF, CREDENTIAL, DIRECTORIES, File, Tree


def read(root: Path) -> Tree:
    with Directory.open(str(root)) as top:
        return sysctld.read_tree(top)


def put(root: Path, path: str, text: bytes = b"") -> Path:
    where = root / path.lstrip("/")
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(text)
    return where


def test_nothing_is_no_gap(tmp_path):
    assert read(tmp_path) == Tree(systemd=None, procps=None)


def test_all_places_are_read_in_their_order(tmp_path):
    for path in (*reversed(DIRECTORIES), "/etc", "/run/credentials/@system"):
        put(tmp_path, path + "/sysctl.conf", path.encode())
    put(tmp_path, CREDENTIAL, b"given")
    put(tmp_path, "/etc/sysctl.d/README", b"no file of the loaders")
    tree = read(tmp_path)
    assert tuple(tree.directories) == DIRECTORIES
    for path, files in tree.directories.items():
        assert files == {"sysctl.conf": File(path + "/sysctl.conf", path.encode())}
    assert tree.conf == File(CONF, b"/etc")
    assert tree.credential == File(CREDENTIAL, b"given")


def test_a_lib_that_is_a_link_is_read_once(tmp_path):
    put(tmp_path, "usr/lib/sysctl.d/a.conf", b"x")
    (tmp_path / "lib").symlink_to("usr/lib")
    assert list(read(tmp_path).directories) == ["/usr/lib/sysctl.d"]


def test_links_are_followed_and_told(tmp_path):
    put(tmp_path, CONF, b"kernel.shmmni = 5\n")
    place = tmp_path / "etc/sysctl.d"
    place.mkdir()
    (place / "99-sysctl.conf").symlink_to("../sysctl.conf")
    (place / "zz.conf").symlink_to("99-sysctl.conf")
    (place / "mask.conf").symlink_to("/dev/null")
    (place / "dangling.conf").symlink_to("../nowhere")
    (place / "loop.conf").symlink_to("loop.conf")
    (place / "directory.conf").mkdir()
    files = read(tmp_path).directories["/etc/sysctl.d"]
    assert files["99-sysctl.conf"] == File("/etc/sysctl.d/99-sysctl.conf", b"kernel.shmmni = 5\n", CONF)
    assert files["zz.conf"].place == CONF
    assert files["mask.conf"] == File("/etc/sysctl.d/mask.conf", b"", "/dev/null")
    assert (files["dangling.conf"].text, files["dangling.conf"].place) == (b"", "/etc/nowhere")
    assert files["loop.conf"].text is None, "whoever reads it gets an error, and that is told"
    assert files["directory.conf"] == File("/etc/sysctl.d/directory.conf", b"")


def test_what_cannot_be_read_is_told(tmp_path):
    put(tmp_path, "etc/sysctl.d/large.conf", b"#" * ((1 << 20) + 1))
    os.mkfifo(tmp_path / "etc/sysctl.d/fifo.conf")
    files = read(tmp_path).directories["/etc/sysctl.d"]
    assert {name: file.text for name, file in files.items()} == {"large.conf": None, "fifo.conf": None}


def test_a_sysctl_conf_that_is_no_regular_file_is_not_read(tmp_path):
    (tmp_path / "etc/sysctl.conf").mkdir(parents=True)
    assert read(tmp_path).conf is None


# ---------------------------------------------------------------- which loaders there are


@pytest.mark.parametrize(
    ("files", "systemd", "procps"),
    [
        (["lib/systemd/systemd-sysctl", "lib/systemd/libsystemd-shared-247.so", "sbin/sysctl"], 247, None),
        (
            ["usr/lib/systemd/systemd-sysctl", "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so",
             "usr/sbin/sysctl", "usr/lib/x86_64-linux-gnu/libproc2.so.0.0.2"],
            257, 4,
        ),
        (["usr/sbin/sysctl", "lib/aarch64-linux-gnu/libprocps.so.8.0.3"], None, 3),
        (
            ["usr/lib/systemd/systemd-sysctl", "usr/lib/systemd/libsystemd-shared-252-32.el9_4.7.so",
             "usr/sbin/sysctl", "usr/lib64/libprocps.so.8"],
            252, 3,
        ),
        (["usr/lib64/libprocps.so.8", "usr/lib/systemd/libsystemd-shared-252.so"], None, None),
        (["usr/lib/systemd/systemd-sysctl"], 257, None),
    ],
)  # fmt: skip
def test_the_loaders_of_a_host(tmp_path, files, systemd, procps):
    for path in files:
        put(tmp_path, path)
    tree = read(tmp_path)
    assert (tree.systemd, tree.procps) == (systemd, procps)


@given(st.lists(st.text(max_size=30)), st.integers(1, 9999))
def test_a_version_is_found_among_any_names(names, version):
    shared = "libsystemd-shared-%d.so" % version
    assert sysctld.parse_systemd_version([*names, shared]) >= version
    assert sysctld.parse_procps_version([*names, "libproc2.so.0"]) == 4
    for odd in ("libsystemd-shared-.so", "libsystemd-shared-12345.so", "xlibsystemd-shared-252.so"):
        assert sysctld.parse_systemd_version([odd]) is None
    assert sysctld.parse_procps_version(["libprocx.so.1", "libproc2.a"]) is None
