"""What the proxy lets through, delays and cuts."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from deploy.local.server import free_port
from tests.faults.proxy import KafkaProxy

PRODUCE, FETCH = 0, 1


class Server:
    """Answers each of Kafka's requests by its correlation id, and counts them."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.written = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def _run(self) -> None:
        # Until it is shut down.
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        # The proxy may cut it.
        with suppress(OSError), connection, connection.makefile("rb") as requests:
            while head := requests.read(4):
                request = requests.read(struct.unpack(">i", head)[0])
                self.written += 1
                connection.sendall(struct.pack(">i", 20) + request[4:8] + bytes(16))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[KafkaProxy]:
    proxy = KafkaProxy(free_port(), server.port)
    yield proxy
    proxy.close()


def connected(proxy: KafkaProxy) -> socket.socket:
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", proxy.port), timeout=60)
        except ConnectionRefusedError:
            # Its thread is about to listen.
            assert time.monotonic() < deadline


def request(connection: socket.socket, api: int, correlation: int) -> bytes:
    """The answer; empty where the connection was cut."""
    frame = struct.pack(">hhi", api, 9, correlation) + b"x" * 1000
    whole = struct.pack(">i", len(frame)) + frame
    try:
        # In two pieces, as a network may cut it.
        connection.sendall(whole[:7])
        connection.sendall(whole[7:])
        return connection.recv(24, socket.MSG_WAITALL)
    except ConnectionError:
        return b""


def test_what_nobody_armed_passes_unchanged(proxy: KafkaProxy) -> None:
    with connected(proxy) as connection:
        for correlation in range(3):
            answer = request(connection, PRODUCE, correlation)
            assert answer == struct.pack(">ii", 20, correlation) + bytes(16)


def test_the_answer_to_an_append_is_lost_after_the_write_and_others_are_not(proxy: KafkaProxy, server: Server) -> None:
    with connected(proxy) as connection:
        proxy.lose(1)
        assert len(request(connection, FETCH, 1)) == 24
        assert request(connection, PRODUCE, 2) == b""
    assert (server.written, proxy.lost) == (2, 1)
    with connected(proxy) as connection:
        assert len(request(connection, PRODUCE, 3)) == 24


def test_where_the_server_is_away_the_connection_ends() -> None:
    proxy = KafkaProxy(free_port(), free_port())
    try:
        with connected(proxy) as connection:
            assert request(connection, PRODUCE, 1) == b""
    finally:
        proxy.close()
