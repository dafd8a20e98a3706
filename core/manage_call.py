"""What the admin API reads of a request, and how it answers. What it does not know, it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from core import errors
from core.http import Request, Response

_LONGEST_BODY_BYTES = 64 * 1024
_DEFAULT_PAGE = 100
_LONGEST_PAGE = 1000
_ETAG = re.compile(r'(?:W/)?"?([0-9]{1,15})"?')

_Body = TypeVar("_Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call:
    """A request of an operator's, whose path was found to be one of the API's."""

    request: Request
    names: Mapping[str, str]
    """What stands in the braces of its path, decoded."""

    def body(self, schema: type[_Body]) -> _Body:
        """The JSON body. An empty one is an empty object.

        Raises:
            InvalidRequest: names the field that is wrong.
            BodyTooLarge: no such body can be meant.
        """
        content = self.request.body
        if len(content) > _LONGEST_BODY_BYTES:
            raise errors.BodyTooLarge(_LONGEST_BODY_BYTES)
        try:
            # Numbers stay as they are written: an amount of money must not go through floating point.
            values = json.loads(
                content or b"{}", parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_unique
            )
        except (ValueError, RecursionError) as error:
            # A ValueError's text may quote what was sent.
            reason = f": {error}" if isinstance(error, _Duplicate) else ""
            raise errors.InvalidRequest(f"The request body is not valid JSON{reason}.", code="invalid_json") from None
        if not isinstance(values, dict):
            raise errors.InvalidRequest("The request body must be a JSON object.", code="invalid_type")
        try:
            return schema.model_validate(values)
        except ValidationError as error:
            raise _explain(error.errors(include_url=False)[0]) from None

    def query(self, known: Collection[str]) -> Mapping[str, str]:
        """The query's parameters.

        Raises:
            InvalidRequest: there is an unknown one, or one twice.
        """
        return read_query(self.request.query, known)

    def page(self) -> Page:
        """
        Raises:
            InvalidRequest: a parameter makes no sense.
        """
        given = self.query(("limit", "after"))
        limit = given.get("limit", str(_DEFAULT_PAGE))
        if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= _LONGEST_PAGE:
            raise invalid("limit", f"write a whole number from 1 to {_LONGEST_PAGE}")
        return Page(int(limit), given.get("after", ""))

    def expected_version(self, *, is_required: bool) -> int | None:
        """The version that `If-Match` names; None for `*`, and where there is none and none is required.

        Raises:
            PreconditionRequired: there is none, and there must be one.
            InvalidRequest: it cannot be understood.
        """
        given = self.request.headers.get("if-match", "").strip()
        if not given and is_required:
            raise errors.PreconditionRequired(
                "Say which version you mean to change, so that nobody else's change is lost: send the ETag of what you "
                'have read as If-Match, such as If-Match: "3", or If-Match: * for any version.'
            )
        if given in ("", "*"):
            return None
        match = _ETAG.fullmatch(given)
        if match is None:
            raise invalid("If-Match", 'write one version, such as "3", or *')
        return int(match[1])


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list that is ordered by its ids."""

    limit: int
    after: str

    def answer(self, views: list[dict[str, Any]]) -> Response:
        """The page of the list whose items these are, in the order of their ids: all that come after `after`, or at
        least one more than the page has room for.
        """
        data = views[: self.limit]
        return answer(
            200,
            {
                "object": "list",
                "data": data,
                "last_id": data[-1]["id"] if data else None,
                "has_more": len(views) > self.limit,
            },
        )


def read_query(query: str, known: Collection[str]) -> Mapping[str, str]:
    """As `Call.query`."""
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise errors.InvalidRequest(
                f"Unknown parameter: '{name[:100]}'. Known here: {', '.join(known) or 'none'}.",
                param=name[:100],
                code="unknown_parameter",
            )
        if name in given:
            raise invalid(name, "write it once")
        given[name] = value
    return given


def answer(status: int, value: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON. No cache may keep it: it may tell a key."""
    return Response(
        status,
        {"content-type": "application/json", "cache-control": "no-store", **(headers or {})},
        json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"),
    )


def invalid(param: str, advice: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"Invalid '{param}': {advice}.", param=param, code="invalid_value")


class _Duplicate(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _Duplicate("a field stands twice in an object")
    return values


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _explain(problem: ErrorDetails) -> errors.InvalidRequest:
    kind, param = problem["type"], _path(problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    message = f"{message[:1].lower()}{message[1:]}".rstrip(".")
    if kind == "extra_forbidden":
        return errors.InvalidRequest(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
    if kind == "missing":
        return errors.InvalidRequest(
            f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
        )
    if kind.endswith("_type"):
        return errors.InvalidRequest(f"Invalid type for '{param}': {message}.", param=param, code="invalid_type")
    return errors.InvalidRequest(f"Invalid '{param}': {message}.", param=param, code="invalid_value")


def _path(location: tuple[int | str, ...]) -> str:
    """A field's place as OpenAI writes it: `limits.models[0]`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step[:100]
    return path
