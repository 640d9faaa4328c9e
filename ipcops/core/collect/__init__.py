"""One file per source: ``parse_x`` is pure, ``read_x`` reads."""
