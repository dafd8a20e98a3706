"""What a REST API of API Gateway makes of a request: payload format 1.0, as at a domain of its own.

Its answers, where its integration streams, are a function URL's: `FunctionUrl` gives them.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl


def to_event(scope: MutableMapping[str, Any], body: bytes, request_id: str) -> dict[str, Any]:
    """The event of an ASGI request. All media types are binary: a body comes as base64, whatever it is."""
    path: str = scope["raw_path"].decode("latin-1")
    headers = _gather((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    headers["X-Forwarded-For"] = [scope["client"][0]]
    parameters = _gather(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    return {
        "resource": "/" if path == "/" else "/{proxy+}",
        "path": path,
        "httpMethod": scope["method"],
        "headers": _last(headers),
        "multiValueHeaders": headers,
        "queryStringParameters": _last(parameters) or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": None if path == "/" else {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": _request_context(scope, path, _last(headers), request_id),
        "body": base64.b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
    }


def _gather(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def _last(values: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: given[-1] for name, given in values.items()}


def _request_context(
    scope: MutableMapping[str, Any], path: str, headers: Mapping[str, str], request_id: str
) -> dict[str, Any]:
    now = time.time()
    domain = headers.get("host", "")
    return {
        "accountId": "123456789012",
        "apiId": "local",
        "domainName": domain,
        "domainPrefix": domain.partition(".")[0],
        "extendedRequestId": request_id,
        "httpMethod": scope["method"],
        "identity": {"sourceIp": scope["client"][0], "userAgent": headers.get("user-agent", "")},
        "path": path,
        "protocol": f"HTTP/{scope['http_version']}",
        "requestId": request_id,
        "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
        "requestTimeEpoch": int(now * 1000),
        "resourcePath": "/" if path == "/" else "/{proxy+}",
        "stage": "live",
    }
