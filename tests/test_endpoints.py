"""The endpoint table: what is found, and how what is not there is refused."""

from __future__ import annotations

import pytest

from core import endpoints, errors


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/healthz", "health"),
        ("POST", "/v1/chat/completions", "chat.completions.create"),
        ("GET", "/v1/models", "models.list"),
        ("GET", "/v1/models/gpt-4o", "models.retrieve"),
        ("GET", "/v1/models/ft:gpt-4o:acme::7p4lURel", "models.retrieve"),
        ("GET", "/v1/models/meta-llama%2FLlama-3", "models.retrieve"),
    ],
)
def test_found(method: str, path: str, name: str) -> None:
    assert endpoints.find(method, path).endpoint.name == name


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v1/",
        "/v1/models/",
        "/v1/chat/completions/",
        "//v1/models",
        "/v1/models/..",
        "/v1/models/%2e%2e",
        "/v1/models/..%2Ffiles",
        "/v1/models/a%2F..%2F..%2Ffiles",
        "/v1/models/a/b",
        "/v1/fine_tuning/jobs",
        "/v1/responses/a/nope",
        "/V1/models",
    ],
)
def test_unknown(path: str) -> None:
    with pytest.raises(errors.UnknownEndpoint):
        endpoints.find("GET", path)


def test_a_wrong_method_is_told_the_right_one() -> None:
    with pytest.raises(errors.MethodNotAllowed) as caught:
        endpoints.find("PUT", "/v1/chat/completions")
    assert caught.value.headers["allow"] == "GET, POST"


def test_a_base_url_without_v1_is_explained() -> None:
    with pytest.raises(errors.UnknownEndpoint, match=r"Did you mean /v1/chat/completions\?"):
        endpoints.find("POST", "/chat/completions")


def test_no_two_rows_answer_the_same_request() -> None:
    rows = [(row.method, row.path) for row in endpoints.ENDPOINTS]
    assert len(rows) == len(set(rows))
    assert len({row.name for row in endpoints.ENDPOINTS}) == len(rows)
