"""Route templates choose functions as ASP.NET's do."""

from __future__ import annotations

import pytest

from local.azure_routes import Match, Routes
from local.azure_worker import CannotHost, Function


def _function(route: str, *methods: str) -> Function:
    return Function(route, route, "req", route, frozenset(methods or {"GET"}), "anonymous")


@pytest.mark.parametrize(
    ("route", "path", "parameters"),
    [
        ("{*path}", "/", {}),
        ("{*path}", "/v1/chat/completions", {"path": "v1/chat/completions"}),
        ("{*path}", "/a\nb/é/", {"path": "a\nb/é/"}),
        ("files/{*path}", "/files", {}),
        ("files/{*path}", "/other", None),
        ("Items/{id}", "/items/7/", {"id": "7"}),
        ("items/{id}", "/items/7/8", None),
        ("items/{id?}", "/items", {}),
        ("items/{id:int}", "/items/-7", {"id": "-7"}),
        ("items/{id:int}", "/items/seven", None),
        ("items/{name}.{kind}", "/items/a.b", {"name": "a", "kind": "b"}),
        ("", "/", {}),
        ("a.b", "/axb", None),
    ],
)
def test_a_template_matches(route: str, path: str, parameters: dict[str, str] | None) -> None:
    function = _function(route)
    expected = None if parameters is None else Match(function, parameters)
    assert Routes([function], "").find("GET", path) == expected


@pytest.mark.parametrize(
    ("path", "route"),
    [("/items/all", "items/all"), ("/items/7", "items/{id:int}"), ("/items/x", "items/{id}"), ("/x", "{*path}")],
)
def test_the_most_specific_template_wins(path: str, route: str) -> None:
    routes = Routes(map(_function, ["{*path}", "items/{id}", "items/{id:int}", "items/all"]), "")
    found = routes.find("GET", path)
    assert found is not None
    assert found.function.route == route


def test_a_wrong_method_leaves_the_path_to_the_next_template() -> None:
    routes = Routes([_function("items", "POST"), _function("{*path}", "GET")], "")
    found = routes.find("GET", "/items")
    assert found is not None
    assert found.function.route == "{*path}"
    assert routes.find("DELETE", "/items") is None


def test_the_prefix_of_host_json_comes_first() -> None:
    routes = Routes([_function("{*path}")], "api")
    assert routes.find("GET", "/api/x") is not None
    assert routes.find("GET", "/x") is None


def test_an_unknown_constraint_is_refused() -> None:
    with pytest.raises(CannotHost, match=r"'range\(1,2\)'"):
        Routes([_function("items/{id:range(1,2)}")], "")
