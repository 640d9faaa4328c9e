"""The rules: one file per kind, one function per rule; ``catalogue`` has them all, ``base`` their shape."""
