"""Uploads: a file in parts."""

from __future__ import annotations

import hashlib
from typing import Final

from local.offline.account import Upload
from local.offline.call import Call, document
from local.offline.catalog import CREATED
from local.offline.checks import Range, check_one_of, check_range, check_type, ids_in, missing, required_text
from local.offline.files import PURPOSES, seconds_until_expiry, store
from local.offline.multipart import FormFile
from local.offline.refusal import Refusal
from local.offline.script import Reply
from local.offline.shelf import Json, new_id

_HOUR_SECONDS: Final = 3600
_MOST_BYTES: Final = 8 * 2**30
_MOST_BYTES_A_PART: Final = 64 * 2**20


def create(call: Call) -> Reply:
    """POST /v1/uploads."""
    body = call.body
    required_text(body, "filename")
    required_text(body, "mime_type")
    check_one_of("purpose", body.get("purpose"), PURPOSES)
    if body.get("bytes") is None:
        raise missing("bytes")
    check_range("bytes", body["bytes"], Range("integer", 0, _MOST_BYTES))
    described: Json = {
        "id": new_id("upload_"), "object": "upload", "created_at": CREATED, "expires_at": CREATED + _HOUR_SECONDS,
        "bytes": body["bytes"], "filename": body["filename"], "purpose": body["purpose"], "status": "pending",
        "file": None,
    }  # fmt: skip
    expires_after = body.get("expires_after") or {}
    check_type("expires_after", expires_after, (dict,))
    seconds = seconds_until_expiry(expires_after.get("seconds")) if expires_after else None
    call.account.uploads.put(described["id"], Upload(described, body["mime_type"], seconds))
    return document(described)


def add_part(call: Call) -> Reply:
    """POST /v1/uploads/{upload_id}/parts."""
    upload = _pending(call)
    if not call.received.is_form:
        raise Refusal(400, "The request is no multipart/form-data.")
    data = call.received.form.file("data").content
    if len(data) > _MOST_BYTES_A_PART:
        raise Refusal(400, f"A part has at most {_MOST_BYTES_A_PART} bytes.", param="data")
    part = {
        "id": new_id("part_"), "object": "upload.part", "created_at": CREATED, "upload_id": upload.described["id"],
    }  # fmt: skip
    upload.parts.put(part["id"], data)
    return document(part)


def complete(call: Call) -> Reply:
    """POST /v1/uploads/{upload_id}/complete: the parts become a file, in the order of the request."""
    upload = _pending(call)
    if not ids_in(call.body, "part_ids"):
        raise missing("part_ids")
    whole = b"".join(upload.parts.get(part) for part in ids_in(call.body, "part_ids"))
    expected = upload.described["bytes"]
    if len(whole) != expected:
        raise Refusal(400, f"Expected {expected} bytes in all, but got {len(whole)}.", param="bytes")
    md5 = call.body.get("md5")
    if md5 is not None and md5 != hashlib.md5(whole, usedforsecurity=False).hexdigest():
        raise Refusal(400, "The parts do not have this 'md5'.", param="md5")
    file = FormFile(upload.described["filename"], upload.mime_type, whole)
    stored = store(
        call.account, file, upload.described["purpose"], expires_after_seconds=upload.file_expires_after_seconds
    )
    upload.described |= {"status": "completed", "file": stored}
    return document(upload.described)


def cancel(call: Call) -> Reply:
    """POST /v1/uploads/{upload_id}/cancel."""
    upload = _pending(call)
    upload.described["status"] = "cancelled"
    return document(upload.described)


def _pending(call: Call) -> Upload:
    upload = call.account.uploads.get(call.names["upload_id"])
    status = upload.described["status"]
    if status != "pending":
        raise Refusal(400, f"Upload {upload.described['id']} has status '{status}'; it must be 'pending'.")
    return upload
