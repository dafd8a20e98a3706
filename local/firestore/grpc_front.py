"""The service over gRPC, as Google's client libraries call it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import grpc.aio

from local.firestore import service
from local.firestore.messages import Message
from local.firestore.refusal import Refusal
from local.firestore.service import METHODS, Service


def make_server(firestore: Service, address: str) -> tuple[grpc.aio.Server, int]:
    """A server that is not yet started, and the port that it is bound to.

    Raises:
        OSError: the address cannot be had.
    """
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])  # a port that is taken is an error
    handlers = {name: _handler(firestore, name) for name in METHODS}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service.NAME, handlers)])
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}") from error
    return server, port


def _handler(firestore: Service, name: str) -> grpc.RpcMethodHandler:
    method = METHODS[name]
    make = grpc.unary_stream_rpc_method_handler if method.streams else grpc.unary_unary_rpc_method_handler
    run = _streamed(firestore, name) if method.streams else _single(firestore, name)
    return make(run, method.request.FromString, method.response.SerializeToString)


def _single(
    firestore: Service, name: str
) -> Callable[[Message, grpc.aio.ServicerContext[Message, Message]], Awaitable[Message]]:
    async def run(request: Message, context: grpc.aio.ServicerContext[Message, Message]) -> Message:
        (answer,) = await _answers(firestore, name, request, context)
        return answer

    return run


def _streamed(
    firestore: Service, name: str
) -> Callable[[Message, grpc.aio.ServicerContext[Message, Message]], AsyncIterator[Message]]:
    async def run(request: Message, context: grpc.aio.ServicerContext[Message, Message]) -> AsyncIterator[Message]:
        for answer in await _answers(firestore, name, request, context):
            yield answer

    return run


async def _answers(
    firestore: Service, name: str, request: Message, context: grpc.aio.ServicerContext[Message, Message]
) -> list[Message]:
    try:
        return await firestore.call(name, request)
    except Refusal as refusal:
        await context.abort(grpc.StatusCode[refusal.status], refusal.message)
        raise  # not reached: abort raises
