"""Benchmarks: ipcops beside the common tools, in one run, as ratios."""
