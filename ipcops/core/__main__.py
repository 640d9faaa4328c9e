"""``python3 -m ipcops.core``."""

import sys

from .agent import main

sys.exit(main())
