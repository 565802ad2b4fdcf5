import common  # noqa: F401 (first of all, for Ctrl-C while the others are imported)
