"""Files, and the uploads in parts that become files."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from local.offline.account import Account, StoredFile
from local.offline.call import Call, deleted, document
from local.offline.catalog import CREATED
from local.offline.checks import Range, check_one_of, check_range, whole_number
from local.offline.multipart import FormFile
from local.offline.refusal import Refusal
from local.offline.script import Plain, Reply
from local.offline.shelf import Json, matching, new_id, page

PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_MOST_LISTED: Final = 10_000


def create(call: Call) -> Reply:
    """POST /v1/files."""
    if not call.received.is_form:
        raise Refusal(400, "The request is no multipart/form-data.")
    form = call.received.form
    values, file = form.values(), form.file("file")
    check_one_of("purpose", values.get("purpose"), PURPOSES)
    seconds = values.get("expires_after[seconds]")
    expires = None if seconds is None else seconds_until_expiry(whole_number("expires_after.seconds", seconds))
    return document(store(call.account, file, values["purpose"], expires_after_seconds=expires))


def store(account: Account, file: FormFile, purpose: str, *, expires_after_seconds: int | None = None) -> Json:
    """Keep a file, and describe it."""
    described = {
        "object": "file", "id": new_id("file-"), "purpose": purpose, "filename": file.filename,
        "bytes": len(file.content), "created_at": CREATED, "status": "processed", "status_details": None,
        "expires_at": None if expires_after_seconds is None else CREATED + expires_after_seconds,
    }  # fmt: skip
    return account.files.put(str(described["id"]), StoredFile(described, file.content)).described


def list_all(call: Call) -> Reply:
    """GET /v1/files, by purpose."""
    purpose = call.query.get("purpose")
    files = [file.described for file in call.account.files.values()]
    files = matching(files, lambda file: file["purpose"] == purpose, wanted=purpose)
    return document(page(files, call.query, limit=_MOST_LISTED, highest=_MOST_LISTED))


def retrieve(call: Call) -> Reply:
    """GET /v1/files/{file_id}."""
    return document(call.account.files.get(call.names["file_id"]).described)


def content(call: Call) -> Reply:
    """GET /v1/files/{file_id}/content: the bytes as they came."""
    return as_attachment(call.account.files.get(call.names["file_id"]))


def as_attachment(file: StoredFile) -> Plain:
    """A file's bytes, to be saved under its name."""
    name = str(file.described.get("filename") or file.described.get("path", "")).rpartition("/")[2]
    disposition = f"attachment; filename*=UTF-8''{quote(name)}"
    return Plain(file.content, 200, "application/octet-stream", (("content-disposition", disposition),))


def delete(call: Call) -> Reply:
    """DELETE /v1/files/{file_id}."""
    call.account.files.take(call.names["file_id"])
    return deleted("file", call.names["file_id"])


def seconds_until_expiry(value: object) -> int:
    """How long a file is kept where the request says it: an hour to 30 days."""
    check_range("expires_after.seconds", value, Range("integer", 3600, 2_592_000))
    assert isinstance(value, int)
    return value
