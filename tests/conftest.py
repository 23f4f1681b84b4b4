"""Hypothesis profiles, chosen by TINYATTN_HYPOTHESIS: `quick` (the default, the same examples every time), `few`, `thorough`."""

import os

from hypothesis import HealthCheck, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.differing_executors]
settings.register_profile("quick", max_examples=12, deadline=None, derandomize=True, database=None,
                          suppress_health_check=QUIET)
settings.register_profile("few", settings.get_profile("quick"), max_examples=3)
settings.register_profile("thorough", max_examples=300, deadline=None, database=None, suppress_health_check=QUIET)
settings.load_profile(os.environ.get("TINYATTN_HYPOTHESIS", "quick"))
