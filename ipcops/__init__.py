"""Shows what is wrong with IPC on a Linux host, who left it, and how sure that is."""

from ipcops.core import __version__ as __version__
