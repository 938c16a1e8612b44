"""What all tests share: how property tests are run."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How fast this machine is says nothing about zctl; the bench measures time, as ratios.
settings.register_profile("zctl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("zctl")
