"""What every page of this dashboard is given."""

from dataclasses import dataclass

import httpx

from services.dashboard.frame import LocalClock
from services.dashboard.settings import DashboardSettings


@dataclass(frozen=True, slots=True)
class Site:
    """The gateway's connection, the settings, and the clock of the machine that it runs on."""

    http: httpx.AsyncClient
    settings: DashboardSettings
    now: LocalClock
