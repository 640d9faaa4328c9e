"""Kernel limits: which there are, what programs ask of them, and which file sets them at boot."""
