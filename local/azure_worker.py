"""Microsoft's own Azure Functions worker library in this process, driven as the Functions host drives it over gRPC.

The library only sets and reads attributes of the protobuf messages it is given, so plain objects stand in for them, and
neither gRPC nor protobuf is needed.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

_LIBRARY = "azure_functions_runtime"
_ADVICE = ". Cannot find module. "  # then follow a link and the whole sys.path
_ALL_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "PATCH", "PUT", "OPTIONS", "TRACE", "CONNECT"})


class CannotHost(Exception):
    """The app cannot be hosted. The message is what the worker says about it."""


class Message(SimpleNamespace):
    """A protobuf message: its fields are attributes."""

    def WhichOneof(self, _group: str) -> str | None:
        return next(iter(vars(self)), None)


class ParameterBinding(Message):
    def WhichOneof(self, _group: str) -> str:
        return "data"


class StatusResult(Message):
    Failure, Success, Cancelled = range(3)


class BindingInfo(Message):
    undefined, out, inout = 0, 1, 2


_PROTOS = SimpleNamespace(
    BindingInfo=BindingInfo,
    FunctionMetadataResponse=Message,
    InvocationResponse=Message,
    RpcException=Message,
    RpcFunctionMetadata=Message,
    StatusResult=StatusResult,
    WorkerInitResponse=Message,
    WorkerMetadata=Message,
)


@dataclass(frozen=True, slots=True)
class Function:
    """An HTTP-triggered function, as the worker reports it to the host."""

    id: str
    name: str
    trigger: str
    """The name of the parameter that gets the request."""
    route: str
    methods: frozenset[str]
    auth_level: str
    """`anonymous`, `function` or `admin`."""


class Worker:
    """The one app of this process: the library keeps its registry in a module, so there can be no second."""

    def __init__(self, library: Any, functions: tuple[Function, ...], http_address: tuple[str, int]) -> None:
        self._library = library
        self.functions = functions
        self.http_address = http_address
        """Where the app's web extension listens, soon after the start."""

    @classmethod
    async def start(cls, app_dir: Path) -> Worker:
        """Index the app in `app_dir`; its web extension begins to listen on the running loop.

        Raises:
            CannotHost: the app does not index, or has no HTTP stream.
        """
        sys.path.insert(0, str(app_dir))
        library = _library()
        init = Message(capabilities={}, function_app_directory=str(app_dir))
        started = await library.worker_init_request(_envelope(worker_init_request=init))
        if started.result.status != StatusResult.Success:
            raise CannotHost(started.result.exception.message.partition(_ADVICE)[0])
        if "HttpUri" not in started.capabilities:
            raise CannotHost(f"{app_dir} has no function with an HTTP stream, which is all that this host serves")
        indexed = await library.functions_metadata_request(_envelope())
        address = urlsplit(started.capabilities["HttpUri"])
        assert address.hostname
        assert address.port
        return cls(library, _functions(indexed.function_metadata_results), (address.hostname, address.port))

    async def invoke(self, function: Function, invocation_id: str, route_parameters: Mapping[str, str]) -> str | None:
        """Run `function` for the HTTP request with that id, which reaches the web extension by itself.

        Returns:
            What the function raised, or None when it ended well.
        """
        http = Message(method="", url="", headers={}, query={}, params=route_parameters, body=Message())
        invocation = Message(
            invocation_id=invocation_id,
            function_id=function.id,
            input_data=[ParameterBinding(name=function.trigger, data=Message(http=http))],
            trigger_metadata={},
            trace_context=Message(trace_parent="", trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )
        ended = await self._library.invocation_request(_envelope(invocation_request=invocation))
        return None if ended.result.status == StatusResult.Success else str(ended.result.exception.message)


def _library() -> Any:
    try:
        return importlib.import_module(_LIBRARY)
    except ModuleNotFoundError as error:
        if error.name != _LIBRARY:
            raise
        raise CannotHost(
            "Microsoft's worker library is not installed: pip install --ignore-requires-python azure-functions-runtime"
        ) from None


def _envelope(**request: Message) -> Message:
    return Message(request=Message(**request), properties={"protos": _PROTOS, "host": "127.0.0.1"})


def _functions(indexed: list[Any]) -> tuple[Function, ...]:
    found = []
    for metadata in indexed:
        for binding in map(json.loads, metadata.raw_bindings):
            if binding["type"] == "httpTrigger":
                found.append(_function(metadata, binding))
    return tuple(found)


def _function(metadata: Any, trigger: Mapping[str, Any]) -> Function:
    route = trigger.get("route")
    return Function(
        id=metadata.function_id,
        name=metadata.name,
        trigger=trigger["name"],
        route=metadata.name if route is None else route,
        methods=frozenset(method.upper() for method in trigger.get("methods") or _ALL_METHODS),
        auth_level=str(trigger.get("authLevel", "function")).lower(),
    )
