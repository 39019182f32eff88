"""What the monitor tells others."""

from __future__ import annotations

from typing import TypeAlias

from vallum_monitor.domain.alerts import Alert, Correction
from vallum_monitor.domain.traffic import Observation

Fact: TypeAlias = Observation | Alert | Correction
"""Each becomes one event."""
