"""The core by itself: parsers, verdicts, rules and captured hosts. No root, no kernel, Python 3.9."""
