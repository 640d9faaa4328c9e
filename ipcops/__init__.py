"""Shows what is wrong with IPC on a Linux host, who left it, and how sure that is."""

__version__ = "0.1.0"
