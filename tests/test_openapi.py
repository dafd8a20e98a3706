"""The OpenAPI document says what the endpoint table says, in valid OpenAPI."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from core import openapi, schemas
from core.endpoints import ENDPOINTS, Endpoint
from local.staging import REPOSITORY


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(openapi.document())


def _of(row: Endpoint) -> Any:
    return openapi.describe((row,))["paths"][row.path][row.method.lower()]


def test_it_is_valid(document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_it_has_every_row_and_nothing_else(document: Any) -> None:
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(row.method, row.path) for row in ENDPOINTS}


def test_it_is_made_once() -> None:
    assert openapi.document() is openapi.document()


def test_servers_are_relative(document: Any) -> None:
    assert document["servers"] == [{"url": "/"}]


def test_only_public_rows_need_no_key() -> None:
    assert _of(Endpoint("status", "GET", "/status", public=True))["security"] == []
    assert "security" not in _of(Endpoint("status", "GET", "/status"))


def test_names_in_paths_are_parameters() -> None:
    parameters = _of(Endpoint("parts.retrieve", "GET", "/things/{thing_id}/parts/{part}"))["parameters"]
    assert [(one["name"], one["in"], one["required"]) for one in parameters] == [
        ("thing_id", "path", True),
        ("part", "path", True),
    ]


def test_bodies() -> None:
    neither = Endpoint("thing", "POST", "/things")
    either = Endpoint("thing", "POST", "/things", json=schemas.Call, form=True)
    assert "requestBody" not in _of(neither)
    assert [*_of(either)["requestBody"]["content"]] == ["application/json", "multipart/form-data"]
    assert _of(either)["requestBody"]["required"] is False
    assert _of(Endpoint("thing", "POST", "/things", form=True))["requestBody"]["required"] is True
    assert _of(Endpoint("thing", "POST", "/things", json=schemas.ModelCall))["requestBody"]["required"] is True


def test_json_bodies_are_open_and_name_what_is_checked(document: Any) -> None:
    chat = document["components"]["schemas"]["ChatCompletion"]
    assert chat["additionalProperties"] is True
    assert set(chat["required"]) == {"model", "messages"}
    assert chat["properties"]["messages"]["items"] == {"$ref": "#/components/schemas/Item"}


def test_importing_it_makes_nothing() -> None:
    program = "import core.openapi; assert core.openapi.document.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)
