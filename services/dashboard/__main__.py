"""Runs the dashboard."""

import asyncio
import logging
import os
from datetime import UTC, datetime

import httpx
import uvicorn

from services.dashboard.app import create_app
from services.dashboard.settings import DashboardSettings
from services.dashboard.site import Site
from shared.lifeline import lifeline_of, watch_lifeline
from shared.settings import told
from shared.telemetry import configure_logging


async def serve(settings: DashboardSettings) -> None:
    """Returns once the process was told to end."""
    # Keys go to the gateway and nowhere else: no proxy of the environment's is asked.
    async with httpx.AsyncClient(base_url=settings.gateway, timeout=settings.gateway_timeout, trust_env=False) as http:
        site = Site(http, settings, lambda: datetime.now(UTC).astimezone())
        config = uvicorn.Config(
            create_app(site),
            host=settings.dashboard_host,
            port=settings.dashboard_port,
            log_config=None,
            access_log=False,
            # Open pages hold a socket each: they are not waited for.
            timeout_graceful_shutdown=1,
        )
        await uvicorn.Server(config).serve()


def main() -> None:
    """Wires settings, logs and the lifeline."""
    # Sessions hold keys: what this process writes is for its user alone.
    os.umask(0o077)
    settings = told(DashboardSettings)
    watch_lifeline(lifeline_of(os.environ))
    configure_logging(settings.log_level, "dashboard")
    # Their lines at INFO name every address that is read, and the ids of open pages.
    for name in ("httpx", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
