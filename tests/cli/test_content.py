"""``ipcops content path``: where the collection lies, or what is wrong with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.cli.command import ROOT, environment, ipcops


def test_the_collection_lies_there():
    done = ipcops("content", "path")
    assert (done.returncode, done.stderr) == (0, "")
    place = Path(done.stdout.removesuffix("\n"))
    assert place == ROOT / "ipcops/_collections"
    for part in ("plugins/modules/ipc_limits.py", "roles", "playbooks"):
        assert (place / "ansible_collections/ipcops/linux" / part).exists(), part


def test_it_goes_to_a_file(tmp_path):
    file = tmp_path / "path"
    assert not ipcops("content", "path", "--output", str(file)).stdout
    assert file.read_text() == f"{ROOT}/ipcops/_collections\n"


def test_without_a_word_it_tells_which_there_are():
    done = ipcops("content")
    assert "ANSIBLE_COLLECTIONS_PATH" in done.stdout + done.stderr


def test_a_copy_without_its_links_is_refused(tmp_path):
    """What a zip archive of the sources, or a checkout with ``core.symlinks=false``, is like."""
    links = [str(path.name) for path in (ROOT / "ipcops/_collections/ansible_collections/ipcops/linux").iterdir()]
    shutil.copytree(ROOT / "ipcops", tmp_path / "ipcops", ignore=shutil.ignore_patterns("__pycache__", *links))
    command = (sys.executable, "-c", "from ipcops.cli.main import main; main()", "content", "path")
    env = environment(PYTHONPATH=str(tmp_path))
    done = subprocess.run(command, cwd=tmp_path, env=env, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("ipcops: the collection ipcops.linux is not whole: '")
    assert done.stderr.endswith("is no directory; install ipcops anew\n")
