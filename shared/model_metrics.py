"""What is told of a model service: metrics of its calls, and spans in the traces of the decisions that one serves."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any, Final, ParamSpec, TypeVar, cast

import grpc
from google.protobuf.message import Message
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.tracing import METADATA_KEY, OFF, ROWS, Tracing, shared_spans

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ROW_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Context = grpc.aio.ServicerContext[Message, Message]
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ArgumentsT = ParamSpec("ArgumentsT")
ReturnT = TypeVar("ReturnT")
# By method, how many rows a request of it has.
Rows = Mapping[str, Callable[[Any], int]]


class ModelMetrics:
    """Series of the model services of one process; labels are services and their methods."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.calls = Histogram(
            "rewardloop_model_call_seconds",
            "From a call's arrival to its answer, by whether it was answered or failed.",
            ("service", "method", "outcome"),
            buckets=SECONDS,
            registry=registry,
        )
        self.rows = Histogram(
            "rewardloop_model_call_rows",
            "Rows that a call brought in one batch.",
            ("service", "method"),
            buckets=ROW_COUNTS,
            registry=registry,
        )
        self.busy = Counter(
            "rewardloop_model_busy_seconds",
            "Time in which threads worked: its rate, divided by the threads, is the share of time they are busy.",
            ("service",),
            registry=registry,
        )
        self.threads = Gauge("rewardloop_model_threads", "Threads that work.", ("service",), registry=registry)
        self.loaded = Gauge(
            "rewardloop_model_loaded_versions", "Model versions that can be served.", ("service",), registry=registry
        )


class WorkingThreads(ThreadPoolExecutor):
    """Threads of a model service, which count how long they work."""

    def __init__(self, threads: int, service: str, metrics: ModelMetrics) -> None:
        super().__init__(threads, service)
        metrics.threads.labels(service).set(threads)
        self._busy = metrics.busy.labels(service)

    def submit(
        self, fn: Callable[ArgumentsT, ReturnT], /, *arguments: ArgumentsT.args, **named: ArgumentsT.kwargs
    ) -> Future[ReturnT]:
        def work() -> ReturnT:
            began = perf_counter()
            try:
                return fn(*arguments, **named)
            finally:
                self._busy.inc(perf_counter() - began)

        return super().submit(work)


class Observed(grpc.aio.ServerInterceptor):
    """Counts the calls of the methods that it is told to, and puts each in the traces of its sampled decisions."""

    def __init__(self, service: str, rows: Rows, metrics: ModelMetrics, tracing: Tracing = OFF) -> None:
        self._service = service
        self._rows = rows
        self._metrics = metrics
        self._tracing = tracing

    def watch_versions(self, count: Callable[[], int]) -> None:
        self._metrics.loaded.labels(self._service).set_function(count)

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], "Awaitable[grpc.RpcMethodHandler[RequestT, ResponseT] | None]"
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[RequestT, ResponseT] | None":
        handler = await continuation(handler_call_details)
        method = handler_call_details.method.rpartition("/")[2]
        if handler is None or handler.unary_unary is None or method not in self._rows:
            return handler
        # The stubs know blocking servers only.
        behaviour = cast("Callable[[RequestT, Context], Awaitable[ResponseT]]", handler.unary_unary)
        parents = _traceparents(handler_call_details) if self._tracing.is_on else []

        async def call(request: RequestT, context: Context) -> ResponseT:
            began, rows, outcome = perf_counter(), self._rows[method](request), "failed"
            try:
                work = behaviour(request, context)
                answer = await (self._traced(parents, method, rows, work) if parents else work)
                outcome = "answered"
                return answer
            finally:
                self._metrics.calls.labels(self._service, method, outcome).observe(perf_counter() - began)
                self._metrics.rows.labels(self._service, method).observe(rows)

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)

    async def _traced(self, parents: Sequence[str], method: str, rows: int, call: Awaitable[ResponseT]) -> ResponseT:
        with shared_spans(self._tracing, method, parents, "server", {ROWS: rows}):
            return await call


def _traceparents(details: grpc.HandlerCallDetails) -> list[str]:
    told = dict(details.invocation_metadata or ()).get(METADATA_KEY)
    return str(told).split(",") if told else []
