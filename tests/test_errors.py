"""Every refusal is a response in OpenAI's shape, on which OpenAI's own client raises the exception that fits."""

from __future__ import annotations

import json
import re

import httpx2
import openai
import pytest

from core import errors
from core.errors import TrefoilError

_ARGUMENTS: dict[type[TrefoilError], dict[str, object]] = {
    errors.BodyTooLarge: {"limit_bytes": 10},
    errors.MethodNotAllowed: {"message": "no", "allow": "GET"},
    errors.IdempotencyKeyReused: {},
    errors.InternalError: {},
    errors.StoreUnavailable: {},
    errors.Limited: {"message": "no", "retry_after_seconds": 1},
    errors.RequestsLimited: {"message": "no", "retry_after_seconds": 1},
    errors.TokensLimited: {"message": "no", "retry_after_seconds": 1},
    errors.QuotaExceeded: {"message": "no", "retry_after_seconds": None},
}
_RAISED_BY_THE_SDK = {
    errors.InvalidRequest: openai.BadRequestError,
    errors.UnknownEndpoint: openai.NotFoundError,
    errors.NotAuthenticated: openai.AuthenticationError,
    errors.NotAllowed: openai.PermissionDeniedError,
    errors.TokensLimited: openai.RateLimitError,
    errors.QuotaExceeded: openai.RateLimitError,
    errors.UpstreamError: openai.InternalServerError,
    errors.InternalError: openai.InternalServerError,
}


def _tree(root: type[TrefoilError] = TrefoilError) -> list[type[TrefoilError]]:
    return [kind for child in root.__subclasses__() for kind in (child, *_tree(child))]


def _make(kind: type[TrefoilError]) -> TrefoilError:
    return kind(**_ARGUMENTS.get(kind, {"message": "no"}))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", _tree())
def test_each_error_becomes_a_response(kind: type[TrefoilError]) -> None:
    error = _make(kind)
    response = errors.to_response(error, "req_1")
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == {
        "error": {"message": error.message, "type": kind.type, "param": None, "code": error.code}
    }
    assert response.status == kind.status
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == "req_1"


def test_the_drawn_tree_is_the_real_one() -> None:
    assert errors.__doc__ is not None
    drawn = dict(re.findall(r"[├└]── (\w+) +(\d+)", errors.__doc__))
    assert drawn == {kind.__name__: str(kind.status) for kind in _tree()}


@pytest.mark.parametrize(("kind", "raised"), _RAISED_BY_THE_SDK.items())
def test_openai_s_client_raises_its_own_exception(
    kind: type[TrefoilError], raised: type[openai.APIStatusError]
) -> None:
    response = errors.to_response(_make(kind), "req_1")

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(response.status, headers=dict(response.headers), content=response.body)

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as transport,
        openai.OpenAI(api_key="x", base_url="http://test", http_client=transport, max_retries=0) as client,
        pytest.raises(raised) as caught,
    ):
        client.models.list()
    assert caught.value.code == kind.code
    assert caught.value.request_id == "req_1"


def test_an_error_in_a_stream_is_one_event() -> None:
    event = errors.to_event(errors.UpstreamTimeout("naïve\ncafé"))
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2


def test_a_message_with_half_a_character_can_still_be_sent() -> None:
    assert b"?" in errors.body(errors.InvalidRequest("\ud83d"))
