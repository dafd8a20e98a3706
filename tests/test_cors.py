"""What browsers are told."""

from __future__ import annotations

import pytest

from core import cors
from core.http import Request

_PAGE = "https://shop.example"


def _request(method: str = "POST", **headers: str) -> Request:
    return Request(
        method, "/v1/chat/completions", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def test_a_page_of_the_list_may_read() -> None:
    headers = cors.headers_for(_request(origin=_PAGE), [_PAGE])
    assert headers["access-control-allow-origin"] == _PAGE
    assert headers["vary"] == "origin"
    assert {"x-request-id", "retry-after", "x-trefoil-target"} <= set(
        headers["access-control-expose-headers"].split(", ")
    )
    assert "access-control-allow-credentials" not in headers


def test_any_page_may_read_where_the_list_says_so() -> None:
    assert cors.headers_for(_request(origin=_PAGE), ["*"])["access-control-allow-origin"] == _PAGE


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://shop.example.evil", "null", "", "http://shop.example"]
)
def test_other_pages_may_not(origin: str) -> None:
    assert cors.headers_for(_request(origin=origin), [_PAGE]) == {"vary": "origin"}


def test_without_a_list_or_a_page_nothing_is_said() -> None:
    assert cors.headers_for(_request(origin=_PAGE), []) == {}
    assert cors.headers_for(_request(), [_PAGE]) == {}


def test_a_preflight() -> None:
    asked = "authorization,content-type,x-stainless-os"
    request = _request(
        "OPTIONS", origin=_PAGE, access_control_request_method="POST", access_control_request_headers=asked
    )
    assert cors.is_preflight(request)
    response = cors.answer_preflight(request, [_PAGE])
    assert (response.status, response.body) == (204, b"")
    assert response.headers == {
        "access-control-allow-origin": _PAGE,
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": asked,
        "access-control-max-age": "86400",
        "vary": "origin",
    }
    assert cors.answer_preflight(request, ["https://other.example"]).headers == {"vary": "origin"}


def test_a_plain_options_request_is_no_preflight() -> None:
    assert not cors.is_preflight(_request("OPTIONS", origin=_PAGE))
    assert not cors.is_preflight(_request(origin=_PAGE, access_control_request_method="POST"))
