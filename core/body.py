"""A request's body, as far as the gateway must understand it: JSON, a form, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from core import errors, forms, references, schemas
from core.endpoints import Endpoint
from core.http import Request
from core.references import Reference


class Body(NamedTuple):
    """What was read of it."""

    call: schemas.Call
    references: tuple[Reference, ...] = ()
    """The stored objects that it refers to."""
    fields: Mapping[str, Sequence[str]] | None = None
    """If it is a form, the values of its fields that are no files; None otherwise."""


_EMPTY = Body(schemas.Call.model_construct())


def read(endpoint: Endpoint, request: Request, *, limit_bytes: int) -> Body:
    """What `request` says in its body.

    Raises:
        InvalidRequest: the body is too large, compressed, of the wrong kind, or not what the endpoint takes.
    """
    if len(request.body) > limit_bytes:
        raise errors.BodyTooLarge(limit_bytes)
    if endpoint.json is None and not endpoint.form:
        return _EMPTY
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise errors.UnsupportedBody("A compressed request body is not supported: send it without Content-Encoding.")
    content_type = request.headers.get("content-type", "")
    if endpoint.form and forms.is_form(content_type):
        fields = forms.read_fields(request.body, content_type)
        return Body(schemas.parse_fields(fields), tuple(references.in_form(fields)), fields)
    if content_type.strip().lower().startswith("multipart/") and endpoint.json is not None:
        raise errors.UnsupportedBody("This endpoint takes JSON: send the request as application/json.")
    if endpoint.json is None:
        raise errors.UnsupportedBody(f"This endpoint takes a form: send the request as {forms.MEDIA_TYPE}.")
    if not request.body and endpoint.json is schemas.Call:
        return _EMPTY  # every field of it is optional
    return Body(schemas.parse(endpoint.json, request.body), tuple(references.in_json(request.body)))
