"""Everything ipcops knows about IPC: standard library only, Python 3.9, relative imports only.

The one door is :func:`ipcops.core.run.run`.
"""

__version__ = "0.1.0"
