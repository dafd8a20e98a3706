"""What this service answers: the table a reader looks at first, and the search in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from core import errors, schemas
from core.kinds import Kind
from core.stream_end import DONE


class Endpoint(NamedTuple):
    """One row: a method and a path, and what the gateway has to know about them.

    A path segment in braces is the client's. Where its name stands in `OBJECTS_IN_PATHS`, it is the id of a stored
    object, which has to be the app's own.
    """

    name: str
    method: str
    path: str
    json: type[schemas.Call] | None = None
    """What the request's JSON body must be; None where the endpoint takes none."""
    form: bool = False
    """Whether the request's body may be multipart/form-data; if `json` is None, it must be."""
    answers_json: bool = True
    """Whether a whole answer is a JSON object; otherwise it may be anything, such as speech."""
    gives_file: bool = False
    """Whether the answer is what somebody has stored: of any kind, and be it empty."""
    last_events: frozenset[str] = frozenset()
    """The types that a complete stream's last event can have; empty where nothing is streamed."""
    repeatable: bool = True
    """Whether a call that upstream may have taken can be made again: that costs money, but leaves no second object."""
    makes: Kind | None = None
    """What the answer is a new object of."""
    lists: Kind | None = None
    """What the answer lists all objects of."""
    infers: bool = False
    """Whether a model works for it."""
    is_task: bool = False
    """Whether it is one of the simple endpoints, which `core.tasks` answers with calls of its own."""
    public: bool = False
    """Answered without an app key, and without upstream."""

    @property
    def deletes(self) -> Kind | None:
        """What the call deletes an object of."""
        return OBJECTS_IN_PATHS.get(self.path.rpartition("/")[2].strip("{}")) if self.method == "DELETE" else None


OBJECTS_IN_PATHS: Mapping[str, Kind] = {
    "response_id": Kind.RESPONSE,
    "conversation_id": Kind.CONVERSATION,
    "completion_id": Kind.CHAT_COMPLETION,
    "file_id": Kind.FILE,
    "upload_id": Kind.UPLOAD,
    "vector_store_id": Kind.VECTOR_STORE,
    "container_id": Kind.CONTAINER,
}
"""The names of path segments that are ids of stored objects. Others belong to the object before them in the path."""

OPENAPI = Endpoint("openapi", "GET", "/openapi.json", public=True)

USAGE = Endpoint("usage", "GET", "/v1/usage")
"""What the calling app has used."""

MODELS = Endpoint("models.list", "GET", "/v1/models")

_CHAT = frozenset({DONE})
_RESPONSE = frozenset({"response.completed", "response.incomplete", "response.cancelled"})
_IMAGE = frozenset({"image_generation.completed", "image_edit.completed"})
_SPEECH = frozenset({"speech.audio.done"})
_TRANSCRIPT = frozenset({"transcript.text.done"})
_TASK = frozenset({"done"})


def _reads(name: str, path: str, *, gives_file: bool = False, lists: Kind | None = None) -> Endpoint:
    return Endpoint(name, "GET", path, gives_file=gives_file, lists=lists)


def _changes(name: str, path: str, *, form: bool = False, makes: Kind | None = None) -> Endpoint:
    """A row that makes or changes something stored, from an object of any fields."""
    return Endpoint(name, "POST", path, json=None if form else schemas.Call, form=form, repeatable=False, makes=makes)


def _deletes(name: str, path: str) -> Endpoint:
    return Endpoint(name, "DELETE", path, repeatable=False)


def _infers(
    name: str,
    path: str,
    json: type[schemas.Call] | None = schemas.ModelCall,
    last_events: frozenset[str] = frozenset(),
    *,
    form: bool = False,
    answers_json: bool = True,
    makes: Kind | None = None,
) -> Endpoint:
    """A row on which a model works."""
    return Endpoint(
        name,
        "POST",
        path,
        json=json,
        form=form,
        answers_json=answers_json,
        last_events=last_events,
        makes=makes,
        infers=True,
    )


def _task(name: str, path: str) -> Endpoint:
    """A row for a task. What its body must be, and to whom it is offered, `core.tasks` knows."""
    return Endpoint(name, "POST", path, last_events=_TASK, infers=True, is_task=True)


ENDPOINTS = (
    Endpoint("health", "GET", "/healthz", public=True),
    Endpoint("health.head", "HEAD", "/healthz", public=True),
    OPENAPI,
    USAGE,
    # Inference
    _infers(
        "chat.completions.create", "/v1/chat/completions", schemas.ChatCompletion, _CHAT, makes=Kind.CHAT_COMPLETION
    ),
    _infers("completions.create", "/v1/completions", schemas.ModelCall, _CHAT),
    _infers("responses.create", "/v1/responses", schemas.Call, _RESPONSE, makes=Kind.RESPONSE),
    _infers("responses.compact", "/v1/responses/compact", schemas.Call),
    _infers("responses.input_tokens.count", "/v1/responses/input_tokens", schemas.Call),
    _infers("embeddings.create", "/v1/embeddings"),
    _infers("moderations.create", "/v1/moderations", schemas.Call),
    _infers("images.generate", "/v1/images/generations", schemas.Call, _IMAGE),
    _infers("images.edit", "/v1/images/edits", schemas.Call, _IMAGE, form=True),
    _infers("images.create_variation", "/v1/images/variations", None, form=True),
    _infers("audio.speech.create", "/v1/audio/speech", schemas.ModelCall, _SPEECH, answers_json=False),
    _infers(
        "audio.transcriptions.create", "/v1/audio/transcriptions", None, _TRANSCRIPT, form=True, answers_json=False
    ),
    _infers("audio.translations.create", "/v1/audio/translations", None, form=True, answers_json=False),
    MODELS,
    _reads("models.retrieve", "/v1/models/{model}"),
    # Stored responses and conversations
    Endpoint("responses.retrieve", "GET", "/v1/responses/{response_id}", last_events=_RESPONSE),
    _deletes("responses.delete", "/v1/responses/{response_id}"),
    _changes("responses.cancel", "/v1/responses/{response_id}/cancel"),
    _reads("responses.input_items.list", "/v1/responses/{response_id}/input_items"),
    _changes("conversations.create", "/v1/conversations", makes=Kind.CONVERSATION),
    _reads("conversations.retrieve", "/v1/conversations/{conversation_id}"),
    _changes("conversations.update", "/v1/conversations/{conversation_id}"),
    _deletes("conversations.delete", "/v1/conversations/{conversation_id}"),
    _changes("conversations.items.create", "/v1/conversations/{conversation_id}/items"),
    _reads("conversations.items.list", "/v1/conversations/{conversation_id}/items"),
    _reads("conversations.items.retrieve", "/v1/conversations/{conversation_id}/items/{item_id}"),
    _deletes("conversations.items.delete", "/v1/conversations/{conversation_id}/items/{item_id}"),
    # Stored chat completions
    _reads("chat.completions.list", "/v1/chat/completions", lists=Kind.CHAT_COMPLETION),
    _reads("chat.completions.retrieve", "/v1/chat/completions/{completion_id}"),
    _changes("chat.completions.update", "/v1/chat/completions/{completion_id}"),
    _deletes("chat.completions.delete", "/v1/chat/completions/{completion_id}"),
    _reads("chat.completions.messages.list", "/v1/chat/completions/{completion_id}/messages"),
    # Files and uploads
    _changes("files.create", "/v1/files", form=True, makes=Kind.FILE),
    _reads("files.list", "/v1/files", lists=Kind.FILE),
    _reads("files.retrieve", "/v1/files/{file_id}"),
    _deletes("files.delete", "/v1/files/{file_id}"),
    _reads("files.content", "/v1/files/{file_id}/content", gives_file=True),
    _changes("uploads.create", "/v1/uploads", makes=Kind.UPLOAD),
    _changes("uploads.parts.create", "/v1/uploads/{upload_id}/parts", form=True),
    _changes("uploads.complete", "/v1/uploads/{upload_id}/complete"),
    _changes("uploads.cancel", "/v1/uploads/{upload_id}/cancel"),
    # Vector stores
    _changes("vector_stores.create", "/v1/vector_stores", makes=Kind.VECTOR_STORE),
    _reads("vector_stores.list", "/v1/vector_stores", lists=Kind.VECTOR_STORE),
    _reads("vector_stores.retrieve", "/v1/vector_stores/{vector_store_id}"),
    _changes("vector_stores.update", "/v1/vector_stores/{vector_store_id}"),
    _deletes("vector_stores.delete", "/v1/vector_stores/{vector_store_id}"),
    _changes("vector_stores.search", "/v1/vector_stores/{vector_store_id}/search"),
    _changes("vector_stores.files.create", "/v1/vector_stores/{vector_store_id}/files"),
    _reads("vector_stores.files.list", "/v1/vector_stores/{vector_store_id}/files"),
    _reads("vector_stores.files.retrieve", "/v1/vector_stores/{vector_store_id}/files/{file}"),
    _changes("vector_stores.files.update", "/v1/vector_stores/{vector_store_id}/files/{file}"),
    _deletes("vector_stores.files.delete", "/v1/vector_stores/{vector_store_id}/files/{file}"),
    _reads("vector_stores.files.content", "/v1/vector_stores/{vector_store_id}/files/{file}/content"),
    _changes("vector_stores.file_batches.create", "/v1/vector_stores/{vector_store_id}/file_batches"),
    _reads("vector_stores.file_batches.retrieve", "/v1/vector_stores/{vector_store_id}/file_batches/{batch}"),
    _changes("vector_stores.file_batches.cancel", "/v1/vector_stores/{vector_store_id}/file_batches/{batch}/cancel"),
    _reads("vector_stores.file_batches.list_files", "/v1/vector_stores/{vector_store_id}/file_batches/{batch}/files"),
    # Containers
    _changes("containers.create", "/v1/containers", makes=Kind.CONTAINER),
    _reads("containers.list", "/v1/containers", lists=Kind.CONTAINER),
    _reads("containers.retrieve", "/v1/containers/{container_id}"),
    _deletes("containers.delete", "/v1/containers/{container_id}"),
    Endpoint(
        "containers.files.create",
        "POST",
        "/v1/containers/{container_id}/files",
        json=schemas.Call,
        form=True,
        repeatable=False,
    ),
    _reads("containers.files.list", "/v1/containers/{container_id}/files"),
    _reads("containers.files.retrieve", "/v1/containers/{container_id}/files/{file}"),
    _deletes("containers.files.delete", "/v1/containers/{container_id}/files/{file}"),
    _reads("containers.files.content", "/v1/containers/{container_id}/files/{file}/content", gives_file=True),
    # Tasks
    Endpoint("tasks.list", "GET", "/tasks", is_task=True),
    _task("tasks.generate", "/tasks/generate"),
    _task("tasks.complete", "/tasks/complete"),
    _task("tasks.summarize", "/tasks/summarize"),
    _task("tasks.converse", "/tasks/converse"),
    _task("tasks.code", "/tasks/code"),
    _task("tasks.image", "/tasks/image"),
    Endpoint("tasks.conversations.list", "GET", "/tasks/conversations", is_task=True),
    Endpoint("tasks.conversations.retrieve", "GET", "/tasks/conversations/{conversation}", is_task=True),
    Endpoint("tasks.conversations.delete", "DELETE", "/tasks/conversations/{conversation}", is_task=True),
    # An operator's own, of which each counts as `tasks.` and its name.
    _task("tasks.run", "/tasks/{task}"),
)


class Found(NamedTuple):
    """The row for a request, and what stands in its path's braces, decoded."""

    endpoint: Endpoint
    names: Mapping[str, str]


def find(method: str, path: str) -> Found:
    """The row for a request.

    Raises:
        UnknownEndpoint: no row has this path.
        MethodNotAllowed: rows have this path, but not with this method; the error lists theirs.
    """
    rows = _rows(path)
    if not rows:
        raise errors.UnknownEndpoint(f"Unknown URL: {method} {path}. {_advice(path)}")
    for found in rows:
        if found.endpoint.method == method:
            return found
    allow = ", ".join(sorted({found.endpoint.method for found in rows}))
    raise errors.MethodNotAllowed(f"{method} is not supported on {path}, only {allow}.", allow=allow)


def _rows(path: str) -> list[Found]:
    if exact := _PLAIN_ROWS.get(path):
        return [Found(row, {}) for row in exact]
    given = path.split("/")
    found = []
    for row, wanted in _PATTERN_ROWS.get(len(given), ()):
        names = _names(wanted, given)
        if names is not None:
            found.append(Found(row, names))
    return found


def _names(wanted: list[str], given: list[str]) -> Mapping[str, str] | None:
    """What fills the braces; None where the path is another one."""
    names = {}
    for want, have in zip(wanted, given, strict=True):
        if want.startswith("{"):
            names[want[1:-1]] = value = unquote(have)
            # A segment has to stay one where upstream decodes it: never empty, never a way up the tree.
            if not value or {".", ".."} & set(_SEPARATORS.split(value)):
                return None
        elif want != have:
            return None
    return names


def _advice(path: str) -> str:
    if path == "/admin" or path.startswith("/admin/"):
        return "The operator's API is at /manage."
    if _rows(f"/v1{path}"):
        return f"Did you mean /v1{path}? An OpenAI client's base URL here ends in /v1."
    for prefix, what in _NOT_OFFERED.items():
        if path.startswith(f"/v1/{prefix}"):
            return f"{what} not offered by this service."
    return "The endpoints that this service offers are listed at /openapi.json."


_NOT_OFFERED: Mapping[str, str] = {
    "assistants": "Assistants are",
    "threads": "Assistants are",
    "batches": "Batches are",
    "evals": "Evaluations are",
    "fine_tuning": "Fine-tuning is",
    "organization": "Administration is",
    "projects": "Administration is",
    "realtime": "Realtime is",
    "skills": "Skills are",
    "videos": "Videos are",
}

_SEPARATORS = re.compile(r"[/\\]")
"""Some servers take a backslash for a slash."""

_PLAIN_ROWS: Mapping[str, list[Endpoint]] = {
    path: [row for row in ENDPOINTS if row.path == path]
    for path in {row.path for row in ENDPOINTS if "{" not in row.path}
}
_PATTERN_ROWS: Mapping[int, list[tuple[Endpoint, list[str]]]] = {
    count: [(row, row.path.split("/")) for row in ENDPOINTS if "{" in row.path and row.path.count("/") + 1 == count]
    for count in {row.path.count("/") + 1 for row in ENDPOINTS}
}
