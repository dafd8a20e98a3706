"""What the service has to say to a request that reached the mock upstream directly: the row that takes it, and the
stored objects that have to be the app's own for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs

from core import body
from core.endpoints import OBJECTS_IN_PATHS, Endpoint, find
from core.http import Request
from core.made import Made
from recording_proxy import RecordedRequest

_ROOMY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Offer:
    endpoint: Endpoint
    objects: tuple[Made, ...]

    @classmethod
    def of(cls, recorded: RecordedRequest) -> Offer:
        """
        Raises:
            UnknownEndpoint, MethodNotAllowed: it is not offered.
            InvalidRequest: it is refused.
        """
        path, _, query = recorded.target.partition("?")
        headers = {"content-type": recorded.content_type}
        request = Request(recorded.method, f"/v1{path}", query, headers=headers, body=recorded.body)
        endpoint, names = find(request.method, request.path)
        read = body.read(endpoint, request, limit_bytes=_ROOMY_BYTES)
        in_path = (Made(OBJECTS_IN_PATHS[name], value) for name, value in names.items() if name in OBJECTS_IN_PATHS)
        in_body = (Made(reference.kind, reference.id) for reference in read.references)
        return cls(endpoint, (*in_path, *in_body, *_in_query(endpoint, query)))


def _in_query(endpoint: Endpoint, query: str) -> list[Made]:
    """A list made of the app's own objects begins after, or ends before, one of them."""
    if endpoint.lists is None:
        return []
    given = parse_qs(query)
    return [Made(endpoint.lists, value) for name in ("after", "before") for value in given.get(name, ())]
