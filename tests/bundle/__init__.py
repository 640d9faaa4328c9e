"""The agent as one file, and the bundle."""
