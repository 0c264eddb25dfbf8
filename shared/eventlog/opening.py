"""Which event log a process has."""

from shared.domain import Clock
from shared.eventlog import EventLog
from shared.settings import PlatformSettings


def open_event_log(settings: PlatformSettings, clock: Clock) -> EventLog:
    """Kafka where its servers are told, else the local log below `home`; neither is touched before it is used."""
    # Each only where it is needed: a laptop has no Kafka, and a read-only image no local log.
    if settings.kafka_servers is not None:
        from shared.eventlog.kafka import KafkaEventLog

        return KafkaEventLog(settings, clock)
    from shared.eventlog.local import LocalEventLog

    return LocalEventLog(settings.log_folder, clock)
