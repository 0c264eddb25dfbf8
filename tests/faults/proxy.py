"""A TCP proxy that answers late, or takes an acknowledgement away after Kafka has written: in a thread of its own."""

import asyncio
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import uvloop

CHUNK: Final = 256 * 1024
# Kafka's frames: a length, then (of requests) which API in which version, then which request it is.
LENGTH: Final = struct.Struct(">i")
REQUEST: Final = struct.Struct(">hhi")
CORRELATION: Final = struct.Struct(">i")
PRODUCE: Final = 0


class ConnectionCutError(Exception):
    """What the connection carried is enough to end it."""


class Watch(Protocol):
    """Sees what one connection carries, and raises ConnectionCutError before what must not arrive."""

    def sent(self, data: bytes) -> None: ...

    def answered(self, data: bytes) -> None: ...


class Unwatched:
    """Lets everything through."""

    def sent(self, data: bytes) -> None: ...

    def answered(self, data: bytes) -> None: ...


class Proxy:
    """127.0.0.1:`port` → 127.0.0.1:`target`, until `close`."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        # Seconds that each answer waits.
        self.delay = 0.0
        self._loop = uvloop.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Every answer comes so much later."""
        self.delay = seconds
        yield
        self.delay = 0.0

    def watch(self) -> Watch:
        return Unwatched()

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._pass, "127.0.0.1", self.port, limit=CHUNK):
            await self._stopped.wait()
        passing = asyncio.all_tasks() - {asyncio.current_task()}
        for task in passing:
            task.cancel()
        # Each closes its connection before it ends.
        await asyncio.gather(*passing, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; where the target is away, it ends at once."""
        try:
            beyond, answers = await asyncio.open_connection("127.0.0.1", self._target, limit=CHUNK)
        except OSError:
            writer.transport.abort()
            return
        watch = self.watch()
        ways = [
            asyncio.create_task(self._pump(reader, answers, watch.sent, slowly=False)),
            asyncio.create_task(self._pump(beyond, writer, watch.answered, slowly=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, answers):
                end.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, see: "Seeing", *, slowly: bool
    ) -> None:
        with suppress(OSError, ConnectionCutError):
            while data := await reader.read(CHUNK):
                if slowly and self.delay:
                    await asyncio.sleep(self.delay)
                see(data)
                writer.write(data)
                await writer.drain()


class Seeing(Protocol):
    """One direction of a watch."""

    def __call__(self, data: bytes, /) -> None: ...


class KafkaProxy(Proxy):
    """Can lose acknowledgements: the broker has written, and the connection breaks before it says so."""

    def __init__(self, port: int, target: int) -> None:
        self._to_lose = 0
        self.lost = 0
        super().__init__(port, target)

    def lose(self, acknowledgements: int) -> None:
        """So many of the next ones."""
        self._to_lose += acknowledgements

    def watch(self) -> Watch:
        return _Produces(self)

    def loses_one(self) -> bool:
        if self._to_lose == 0:
            return False
        self._to_lose -= 1
        self.lost += 1
        return True


class _Produces:
    """Which requests of a connection append, and when their answers come."""

    def __init__(self, proxy: KafkaProxy) -> None:
        self._proxy = proxy
        self._requests, self._responses = _Frames(), _Frames()
        self._appending: set[int] = set()

    def sent(self, data: bytes) -> None:
        for head in self._requests.heads(data):
            api, _, correlation = REQUEST.unpack(head)
            if api == PRODUCE:
                self._appending.add(correlation)

    def answered(self, data: bytes) -> None:
        for head in self._responses.heads(data):
            (correlation,) = CORRELATION.unpack(head[: CORRELATION.size])
            if correlation in self._appending:
                self._appending.discard(correlation)
                if self._proxy.loses_one():
                    raise ConnectionCutError


class _Frames:
    """The first bytes of each frame, whole, from a stream that is cut anywhere."""

    def __init__(self) -> None:
        self._pending = bytearray()
        # Of the frame that is passing by.
        self._left = 0

    def heads(self, data: bytes) -> Iterator[bytes]:
        self._pending += data
        while self._pending:
            if self._left:
                passed = min(self._left, len(self._pending))
                del self._pending[:passed]
                self._left -= passed
                continue
            if len(self._pending) < LENGTH.size + REQUEST.size:
                return
            (length,) = LENGTH.unpack_from(self._pending)
            yield bytes(self._pending[LENGTH.size : LENGTH.size + REQUEST.size])
            self._left = LENGTH.size + length
