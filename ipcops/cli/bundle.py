"""``ipcops bundle``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Debug, end
from ipcops.cli.render import Assignments, PolicyToo, asked_for
from ipcops.core.options import HELP


def bundle(
    directory: Annotated[str, typer.Argument(metavar="DIR", help=HELP["bundle_dir"])],
    assignments: Assignments = None,
    policy: PolicyToo = None,
    debug: Debug = False,
) -> None:
    """Write a bundle."""

    def work() -> int:
        from ipcops.bundle.contents import write  # --help needs none of it
        from ipcops.core.deliver import deliver
        from ipcops.core.fs import read_text

        asked = asked_for(assignments, policy)
        names = write(directory, asked, None if policy is None else read_text(policy))
        lines = [f"Wrote {len(names)} files to {directory}. On a host, as root: sh install.sh\n"]
        deliver(iter(lines), None)
        return 0

    end(work, debug=debug)
