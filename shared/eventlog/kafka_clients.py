"""Clients of kafka-python, made so that one that cannot connect leaves nothing behind."""

import gc
from collections.abc import Callable
from typing import TypeVar

from kafka.net.compat import KafkaNetClient

ClientT = TypeVar("ClientT")


def connected(make: Callable[..., ClientT], **configuration: object) -> ClientT:
    """A client that has connected.

    Raises:
        KafkaError: it could not. By itself it would leave a thread that goes on trying, each time it is made.
    """
    clients: list[KafkaNetClient] = []

    def net_client(**settings: object) -> KafkaNetClient:
        clients.append(KafkaNetClient(**settings))
        return clients[-1]

    try:
        return make(**configuration, kafka_client=net_client)
    except BaseException:
        for client in clients:
            client.close()
            client._manager._net.stop()
        # Each refused connection leaves its socket in a cycle; a process that collects seldom would run out of them.
        gc.collect(0)
        raise
