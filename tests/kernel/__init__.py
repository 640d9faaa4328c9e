"""How the core behaves on the real kernel, in private namespaces."""
