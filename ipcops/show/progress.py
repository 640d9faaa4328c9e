"""A word on standard error while a long look goes on; on a terminal only."""

from __future__ import annotations

import sys
import threading
import time
from typing import Self

PATIENCE = 1.0
"""Seconds before anything is said: most runs are over by then."""


class Progress:
    """Say how long the work has been going on, from the second second on."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.done = threading.Event()
        self.thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if sys.stderr and sys.stderr.isatty():
            self.thread = threading.Thread(target=self._tell, daemon=True)
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        if self.thread is not None:
            self.thread.join()

    def _tell(self) -> None:
        began, told = time.monotonic(), False
        while not self.done.wait(PATIENCE):
            sys.stderr.write("\r%s: looking for %d s …" % (self.what, time.monotonic() - began))
            sys.stderr.flush()
            told = True
        if told:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
