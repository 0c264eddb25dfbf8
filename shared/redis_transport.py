"""Celery's broker on a Redis that may freeze: who cannot acknowledge a message takes the next one all the same."""

from typing import Final

from kombu.transport import TRANSPORT_ALIASES, redis, virtual

SCHEMES: Final = ("redis", "rediss")


class _QoS(redis.QoS):
    """Kombu's own goes on counting a message as under way where Redis did not take its acknowledgement.

    A worker that takes one message at a time would wait for it for good. What is not acknowledged is delivered again
    later, which a run's lease makes harmless.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call] # it has no types
        except Exception:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call] # it has no types
            raise


class _Channel(redis.Channel):
    QoS = _QoS


class Transport(redis.Transport):
    """What `redis://` and `rediss://` mean once `register` was called."""

    Channel = _Channel


def register() -> None:
    """Has Celery's connections by Redis made by this transport: a URL's scheme outdoes every other way to name one."""
    for scheme in SCHEMES:
        TRANSPORT_ALIASES[scheme] = f"{Transport.__module__}:{Transport.__name__}"
