"""How long hypothesis may look: enough to find, short enough to run at every change."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("thorough", max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("thorough" if os.environ.get("IPCOPS_THOROUGH") else "quick")
