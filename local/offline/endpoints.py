"""The table of what the offline upstream answers, and the search in it. Another endpoint is another line."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

from local.offline import (
    audio,
    batches,
    chats,
    completions,
    containers,
    conversations,
    embeddings,
    files,
    images,
    models,
    moderations,
    responses,
    uploads,
    vector_stores,
)
from local.offline.call import Endpoint
from local.offline.refusal import Refusal

_Handler = TypeVar("_Handler", bound=Callable[..., Any])
Routes: TypeAlias = tuple[tuple[str, str, _Handler], ...]

ENDPOINTS: Final[Routes[Endpoint]] = (
    ("POST", "/v1/chat/completions", chats.create),
    ("GET", "/v1/chat/completions", chats.list_stored),
    ("GET", "/v1/chat/completions/{completion_id}", chats.retrieve),
    ("POST", "/v1/chat/completions/{completion_id}", chats.update),
    ("DELETE", "/v1/chat/completions/{completion_id}", chats.delete),
    ("GET", "/v1/chat/completions/{completion_id}/messages", chats.list_messages),
    ("POST", "/v1/responses", responses.create),
    ("POST", "/v1/responses/input_tokens", responses.count_input_tokens),
    ("GET", "/v1/responses/{response_id}", responses.retrieve),
    ("DELETE", "/v1/responses/{response_id}", responses.delete),
    ("POST", "/v1/responses/{response_id}/cancel", responses.cancel),
    ("GET", "/v1/responses/{response_id}/input_items", responses.list_input_items),
    ("POST", "/v1/conversations", conversations.create),
    ("GET", "/v1/conversations/{conversation_id}", conversations.retrieve),
    ("POST", "/v1/conversations/{conversation_id}", conversations.update),
    ("DELETE", "/v1/conversations/{conversation_id}", conversations.delete),
    ("POST", "/v1/conversations/{conversation_id}/items", conversations.create_items),
    ("GET", "/v1/conversations/{conversation_id}/items", conversations.list_items),
    ("GET", "/v1/conversations/{conversation_id}/items/{item_id}", conversations.retrieve_item),
    ("DELETE", "/v1/conversations/{conversation_id}/items/{item_id}", conversations.delete_item),
    ("POST", "/v1/completions", completions.create),
    ("POST", "/v1/embeddings", embeddings.create),
    ("POST", "/v1/moderations", moderations.create),
    ("POST", "/v1/images/generations", images.generate),
    ("POST", "/v1/images/edits", images.edit),
    ("POST", "/v1/images/variations", images.vary),
    ("POST", "/v1/audio/speech", audio.speak),
    ("POST", "/v1/audio/transcriptions", audio.transcribe),
    ("POST", "/v1/audio/translations", audio.translate),
    ("POST", "/v1/files", files.create),
    ("GET", "/v1/files", files.list_all),
    ("GET", "/v1/files/{file_id}", files.retrieve),
    ("DELETE", "/v1/files/{file_id}", files.delete),
    ("GET", "/v1/files/{file_id}/content", files.content),
    ("POST", "/v1/uploads", uploads.create),
    ("POST", "/v1/uploads/{upload_id}/parts", uploads.add_part),
    ("POST", "/v1/uploads/{upload_id}/complete", uploads.complete),
    ("POST", "/v1/uploads/{upload_id}/cancel", uploads.cancel),
    ("POST", "/v1/batches", batches.create),
    ("GET", "/v1/batches", batches.list_all),
    ("GET", "/v1/batches/{batch_id}", batches.retrieve),
    ("POST", "/v1/batches/{batch_id}/cancel", batches.cancel),
    ("POST", "/v1/vector_stores", vector_stores.create),
    ("GET", "/v1/vector_stores", vector_stores.list_all),
    ("GET", "/v1/vector_stores/{vector_store_id}", vector_stores.retrieve),
    ("POST", "/v1/vector_stores/{vector_store_id}", vector_stores.update),
    ("DELETE", "/v1/vector_stores/{vector_store_id}", vector_stores.delete),
    ("POST", "/v1/vector_stores/{vector_store_id}/search", vector_stores.search),
    ("POST", "/v1/vector_stores/{vector_store_id}/files", vector_stores.add_file),
    ("GET", "/v1/vector_stores/{vector_store_id}/files", vector_stores.list_files),
    ("GET", "/v1/vector_stores/{vector_store_id}/files/{file_id}", vector_stores.retrieve_file),
    ("POST", "/v1/vector_stores/{vector_store_id}/files/{file_id}", vector_stores.update_file),
    ("DELETE", "/v1/vector_stores/{vector_store_id}/files/{file_id}", vector_stores.remove_file),
    ("GET", "/v1/vector_stores/{vector_store_id}/files/{file_id}/content", vector_stores.file_content),
    ("POST", "/v1/vector_stores/{vector_store_id}/file_batches", vector_stores.create_batch),
    ("GET", "/v1/vector_stores/{vector_store_id}/file_batches/{batch_id}", vector_stores.retrieve_batch),
    ("POST", "/v1/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel", vector_stores.cancel_batch),
    ("GET", "/v1/vector_stores/{vector_store_id}/file_batches/{batch_id}/files", vector_stores.list_batch_files),
    ("POST", "/v1/containers", containers.create),
    ("GET", "/v1/containers", containers.list_all),
    ("GET", "/v1/containers/{container_id}", containers.retrieve),
    ("DELETE", "/v1/containers/{container_id}", containers.delete),
    ("POST", "/v1/containers/{container_id}/files", containers.add_file),
    ("GET", "/v1/containers/{container_id}/files", containers.list_files),
    ("GET", "/v1/containers/{container_id}/files/{file_id}", containers.retrieve_file),
    ("DELETE", "/v1/containers/{container_id}/files/{file_id}", containers.delete_file),
    ("GET", "/v1/containers/{container_id}/files/{file_id}/content", containers.file_content),
    ("GET", "/v1/models", models.list_all),
    ("GET", "/v1/models/{model}", models.retrieve),
)


def find(routes: Routes[_Handler], method: str, path: str) -> tuple[_Handler, dict[str, str]]:
    """The handler of a URL and the names in its path; Refusal 404 or 405."""
    methods = []
    for verb, template, handler in routes:
        if match := _pattern(template).fullmatch(path):
            if verb == method:
                return handler, match.groupdict()
            methods.append(verb)
    if methods:
        message = f"Not allowed to {method} on {path}; allowed: {', '.join(methods)}."
        raise Refusal(405, message, code="method_not_supported")
    raise Refusal(404, f"Invalid URL ({method} {path})")


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """A name stands for one segment; only a model's may have slashes in it."""
    segments = {"model": ".+"}
    return re.compile(re.sub(r"\{(\w+)\}", lambda name: f"(?P<{name[1]}>{segments.get(name[1], '[^/]+')})", template))
