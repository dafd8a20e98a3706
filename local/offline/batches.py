"""Batches: a file of requests, answered when somebody looks at the batch for the first time."""

from __future__ import annotations

import json
from typing import Any, Final

from local.offline.call import Call, document
from local.offline.catalog import CREATED
from local.offline.checks import check_one_of, metadata_in, required_text
from local.offline.files import store
from local.offline.multipart import FormFile
from local.offline.refusal import Refusal
from local.offline.request_log import Received
from local.offline.script import Plain, Reply
from local.offline.shelf import Json, new_id, page

_ENDPOINTS: Final = (
    "/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations",
    "/v1/images/generations", "/v1/images/edits",
)  # fmt: skip
_DAY_SECONDS: Final = 86_400
_TIMES: Final = (
    "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at",
)  # fmt: skip


class _LineError(Exception):
    """A line of the input file that is no request."""

    def __init__(self, line: int, message: str, code: str) -> None:
        super().__init__(message)
        self.described = {"code": code, "message": message, "param": None, "line": line}


def create(call: Call) -> Reply:
    """POST /v1/batches."""
    body = call.body
    input_file = required_text(body, "input_file_id")
    check_one_of("endpoint", required_text(body, "endpoint"), _ENDPOINTS)
    check_one_of("completion_window", required_text(body, "completion_window"), ("24h",))
    purpose = call.account.files.get(input_file).described["purpose"]
    if purpose != "batch":
        message = f"Invalid purpose for input file: expected 'batch', found '{purpose}'."
        raise Refusal(400, message, param="input_file_id", code="invalid_file_purpose")
    batch: Json = {
        "id": new_id("batch_"), "object": "batch", "endpoint": body["endpoint"], "model": None, "errors": None,
        "input_file_id": input_file, "completion_window": body["completion_window"], "status": "validating",
        "output_file_id": None, "error_file_id": None, "created_at": CREATED, "expires_at": CREATED + _DAY_SECONDS,
        **dict.fromkeys(_TIMES), "request_counts": _counts(0, 0), "metadata": metadata_in(body),
    }  # fmt: skip
    return document(call.account.batches.put(batch["id"], batch))


def list_all(call: Call) -> Reply:
    """GET /v1/batches."""
    return document(page(call.account.batches.values(), call.query))


def retrieve(call: Call) -> Reply:
    """GET /v1/batches/{batch_id}: whatever was going on is done now."""
    batch = call.account.batches.get(call.names["batch_id"])
    if batch["status"] == "validating":
        _run(batch, call)
    elif batch["status"] == "cancelling":
        batch |= {"status": "cancelled", "cancelled_at": CREATED}
    return document(batch)


def cancel(call: Call) -> Reply:
    """POST /v1/batches/{batch_id}/cancel."""
    batch = call.account.batches.get(call.names["batch_id"])
    if batch["status"] != "validating":
        raise Refusal(409, f"Cannot cancel a batch with status '{batch['status']}'.", code="conflict")
    batch |= {"status": "cancelling", "cancelling_at": CREATED}
    return document(batch)


def _run(batch: Json, call: Call) -> None:
    """Answer each line of the input file; what was answered well and what was not are two files."""
    stored = call.account.files.find(batch["input_file_id"])  # it may have been deleted since
    content = stored.content if stored else b""
    try:
        rows = [_row(number, text, batch["endpoint"]) for number, text in enumerate(content.splitlines(), 1) if text]
        if not rows:
            raise _LineError(1, "The file is empty.", "empty_file")
    except _LineError as error:
        errors = {"object": "list", "data": [error.described]}
        batch |= {"status": "failed", "failed_at": CREATED, "errors": errors}
        return
    answers = [_answer(row, call) for row in rows]
    good = [answer for answer in answers if answer["response"]["status_code"] < 400]
    bad = [answer for answer in answers if answer["response"]["status_code"] >= 400]
    batch |= {
        "status": "completed", "model": rows[0]["body"].get("model"), "in_progress_at": CREATED,
        "finalizing_at": CREATED, "completed_at": CREATED, "request_counts": _counts(len(good), len(bad)),
        "output_file_id": _stored(good, f"{batch['id']}_output.jsonl", call),
        "error_file_id": _stored(bad, f"{batch['id']}_error.jsonl", call), "usage": _usage(good),
    }  # fmt: skip


def _row(number: int, text: bytes, endpoint: str) -> Json:
    try:
        row = json.loads(text)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("body"), dict):
        raise _LineError(number, "This line is not parseable as valid JSON.", "invalid_json_line")
    for name in ("custom_id", "method", "url"):
        if not isinstance(row.get(name), str):
            raise _LineError(number, f"Missing required parameter: '{name}'.", "missing_required_parameter")
    if (row["method"], row["url"]) != ("POST", endpoint):
        raise _LineError(number, "The URL of this line is not the endpoint of the batch.", "mismatched_endpoint")
    return row


def _answer(row: Json, call: Call) -> Json:
    asked = {**row["body"], "stream": False}
    headers = (("authorization", call.received.header("authorization")),)
    reply = call.ask(Received("POST", row["url"], "", headers, json.dumps(asked).encode()))
    assert isinstance(reply, Plain)
    response: dict[str, Any] = {"status_code": reply.status, "request_id": new_id("req_")}
    response["body"] = json.loads(reply.body)
    return {"id": new_id("batch_req_"), "custom_id": row["custom_id"], "response": response, "error": None}


def _stored(answers: list[Json], filename: str, call: Call) -> str | None:
    if not answers:
        return None
    content = b"".join(json.dumps(answer, ensure_ascii=False).encode() + b"\n" for answer in answers)
    return str(store(call.account, FormFile(filename, "application/jsonl", content), "batch_output")["id"])


def _counts(completed: int, failed: int) -> Json:
    return {"total": completed + failed, "completed": completed, "failed": failed}


def _usage(answers: list[Json]) -> Json:
    used = [answer["response"]["body"].get("usage") or {} for answer in answers]
    read = sum(one.get("input_tokens", one.get("prompt_tokens", 0)) for one in used)
    made = sum(one.get("output_tokens", one.get("completion_tokens", 0)) for one in used)
    return {
        "input_tokens": read, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": made, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + made,
    }  # fmt: skip
