"""The recording proxy keeps what it passes on, by test, so that two runs can be compared byte for byte."""

from __future__ import annotations

import asyncio
import http.client
from urllib.parse import quote

import pytest

from openai_suite_plugin import TEST_PATH
from recording_proxy import RecordedRequest, RecordingProxy
from scripted_upstream import ScriptedUpstream, plain


def _form(boundary: str, value: bytes) -> RecordedRequest:
    body = b"--%s\r\n\r\n%s\r\n--%s--" % (boundary.encode(), value, boundary.encode())
    return RecordedRequest.of("POST", "/files", f"multipart/form-data; boundary={boundary}", body)


def test_a_form_is_the_same_whatever_its_boundary() -> None:
    assert _form("abc", b"one") == _form("xyz", b"one")
    assert _form("abc", b"one") != _form("abc", b"two")


def _talk(address: str) -> list[int]:
    connection = http.client.HTTPConnection(address, timeout=10)
    statuses = []
    for method, path, body in (
        ("PUT", TEST_PATH + quote("tests/a.py::one", safe=""), None),
        ("POST", "/x?y=1", b'{"a": 1}'),
        ("PUT", TEST_PATH + quote("tests/a.py::two", safe=""), None),
        ("POST", "/x?y=1", b'{"a": 2}'),
    ):
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    return statuses


@pytest.mark.anyio
async def test_it_passes_on_and_keeps_by_test() -> None:
    async with ScriptedUpstream.playing(plain("201 Created", b"{}")) as upstream:
        with RecordingProxy.before(upstream.url) as proxy:
            statuses = await asyncio.to_thread(_talk, proxy.address)
    assert statuses == [204, 201, 204, 201]
    assert [exchange.body for exchange in upstream.exchanges] == [b'{"a": 1}', b'{"a": 2}']
    assert proxy.requests == {
        f"tests/a.py::{test}": [RecordedRequest("POST", "/x?y=1", "application/json", b'{"a": %d}' % number)]
        for number, test in ((1, "one"), (2, "two"))
    }
