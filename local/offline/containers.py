"""Containers and the files in them."""

from __future__ import annotations

from typing import Final

from local.offline.account import Container, StoredFile
from local.offline.call import Call, deleted, document
from local.offline.catalog import CREATED
from local.offline.checks import check_one_of, check_type, ids_in, required_text
from local.offline.files import as_attachment
from local.offline.script import Reply
from local.offline.shelf import Json, matching, new_id, page

_FOLDER: Final = "/mnt/data"
_USUAL_EXPIRY: Final[Json] = {"anchor": "last_active_at", "minutes": 20}


def create(call: Call) -> Reply:
    """POST /v1/containers."""
    body = call.body
    expiry = body.get("expires_after") or _USUAL_EXPIRY
    check_type("expires_after", expiry, (dict,))
    memory = body.get("memory_limit") or "1g"
    check_one_of("memory_limit", memory, ("1g", "4g", "16g", "64g"))
    described: Json = {
        "id": new_id("cntr_"), "object": "container", "created_at": CREATED, "status": "running",
        "name": required_text(body, "name"), "expires_after": expiry, "last_active_at": CREATED,
        "memory_limit": memory,
    }  # fmt: skip
    container = Container(described)
    for file in ids_in(body, "file_ids"):
        _copy(call, container, file)
    call.account.containers.put(described["id"], container)
    return document(described)


def list_all(call: Call) -> Reply:
    """GET /v1/containers, by name."""
    name = call.query.get("name")
    containers = [container.described for container in call.account.containers.values()]
    return document(page(matching(containers, lambda one: one["name"] == name, wanted=name), call.query))


def retrieve(call: Call) -> Reply:
    """GET /v1/containers/{container_id}."""
    return document(_named(call).described)


def delete(call: Call) -> Reply:
    """DELETE /v1/containers/{container_id}."""
    call.account.containers.take(call.names["container_id"])
    return deleted("container.deleted", call.names["container_id"])


def add_file(call: Call) -> Reply:
    """POST /v1/containers/{container_id}/files: a form with the file, or JSON with the id of a stored one."""
    container = _named(call)
    if not call.received.is_form:
        return document(_copy(call, container, required_text(call.body, "file_id")))
    form = call.received.form
    if not form.files and "file_id" in form.values():
        return document(_copy(call, container, form.values()["file_id"]))
    file = form.file("file")
    return document(_keep(container, file.filename, file.content))


def list_files(call: Call) -> Reply:
    """GET /v1/containers/{container_id}/files."""
    return document(page([file.described for file in _named(call).files.values()], call.query))


def retrieve_file(call: Call) -> Reply:
    """GET /v1/containers/{container_id}/files/{file_id}."""
    return document(_named(call).files.get(call.names["file_id"]).described)


def file_content(call: Call) -> Reply:
    """GET /v1/containers/{container_id}/files/{file_id}/content."""
    return as_attachment(_named(call).files.get(call.names["file_id"]))


def delete_file(call: Call) -> Reply:
    """DELETE /v1/containers/{container_id}/files/{file_id}."""
    _named(call).files.take(call.names["file_id"])
    return deleted("container.file.deleted", call.names["file_id"])


def _named(call: Call) -> Container:
    return call.account.containers.get(call.names["container_id"])


def _copy(call: Call, container: Container, key: str) -> Json:
    file = call.account.files.get(key)
    return _keep(container, str(file.described["filename"]), file.content)


def _keep(container: Container, filename: str, content: bytes) -> Json:
    described: Json = {
        "id": new_id("cfile_"), "object": "container.file", "created_at": CREATED, "bytes": len(content),
        "container_id": container.described["id"], "path": f"{_FOLDER}/{filename}", "source": "user",
    }  # fmt: skip
    return container.files.put(described["id"], StoredFile(described, content)).described
