"""Which function answers a path: the route templates of Azure Functions (ASP.NET's), most specific first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from local.azure_worker import CannotHost, Function

_PARAMETER = re.compile(r"\{(?P<stars>\**)(?P<name>\w+)(?::(?P<constraint>[^}?]+))?(?P<optional>\?)?\}")
_CONSTRAINTS = {
    "alpha": r"[a-z]+",
    "bool": r"true|false",
    "guid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "int": r"-?\d+",
    "long": r"-?\d+",
}
_LITERAL, _CONSTRAINED, _FREE, _CATCH_ALL = range(4)


@dataclass(frozen=True, slots=True)
class Match:
    function: Function
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Route:
    function: Function
    pattern: re.Pattern[str]
    names: tuple[str, ...]
    precedence: tuple[int, ...]


class Routes:
    """The routes of an app under the `routePrefix` of its host.json."""

    def __init__(self, functions: Iterable[Function], prefix: str) -> None:
        """
        Raises:
            CannotHost: a template uses a constraint that is not known here.
        """
        routes = (_compile(function, prefix) for function in functions)
        self._routes = sorted(routes, key=lambda route: route.precedence)

    def find(self, method: str, path: str) -> Match | None:
        """The function for a decoded path, with its route parameters. A wrong method is no match, as on Azure."""
        for route in self._routes:
            found = route.pattern.fullmatch(path)
            if found and method in route.function.methods:
                values = zip(route.names, found.groups(), strict=True)
                return Match(route.function, {name: value for name, value in values if value})
        return None


def _compile(function: Function, prefix: str) -> _Route:
    template = "/".join(part.strip("/") for part in (prefix, function.route) if part.strip("/"))
    segments = template.split("/") if template else []
    pattern = "".join(_pattern(segment) for segment in segments)
    return _Route(
        function,
        re.compile(f"{pattern}/?", re.IGNORECASE | re.DOTALL),
        tuple(parameter["name"] for parameter in _PARAMETER.finditer(template)),
        tuple(_precedence(segment) for segment in segments),
    )


def _pattern(segment: str) -> str:
    whole = _PARAMETER.fullmatch(segment)
    if whole and whole["stars"]:
        return "(?:/(.*))?"
    if whole and whole["optional"]:
        return f"(?:/({_values(whole)}))?"
    parts, end = [], 0
    for parameter in _PARAMETER.finditer(segment):
        parts += [re.escape(segment[end : parameter.start()]), f"({_values(parameter)})"]
        end = parameter.end()
    return "".join(["/", *parts, re.escape(segment[end:])])


def _values(parameter: re.Match[str]) -> str:
    constraint = parameter["constraint"]
    if constraint is None:
        return "[^/]+"
    if constraint not in _CONSTRAINTS:
        raise CannotHost(f"the route constraint '{constraint}' is not known here, only {', '.join(_CONSTRAINTS)}")
    return _CONSTRAINTS[constraint]


def _precedence(segment: str) -> int:
    parameter = _PARAMETER.search(segment)
    if parameter is None:
        return _LITERAL
    if parameter["stars"]:
        return _CATCH_ALL
    return _CONSTRAINED if parameter["constraint"] or parameter.group() != segment else _FREE
