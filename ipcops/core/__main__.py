"""``python3 -m ipcops.core``."""

import gc
import sys

gc.disable()  # the imports make nothing but what stays

from .agent import main  # noqa: E402

sys.exit(main())
