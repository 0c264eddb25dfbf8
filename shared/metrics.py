"""Where a process tells its metrics to Prometheus, if it does."""

import sys

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from shared.settings import PlatformSettings


def serve_metrics(settings: PlatformSettings, registry: CollectorRegistry) -> None:
    """Answers scrapes from a thread of its own, where the settings name a port; one that is taken ends the process."""
    ProcessCollector(registry=registry)
    if not settings.metrics_port:
        return
    try:
        start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        place = f"{settings.metrics_host}:{settings.metrics_port}"
        sys.exit(f"REWARDLOOP_METRICS_PORT: {place} cannot be listened on ({error.strerror}): set another port, or 0")
