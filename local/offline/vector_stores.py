"""Vector stores: the files in them, the batches in which they came, and the search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from local.offline.account import VectorStore
from local.offline.call import Call, deleted, document
from local.offline.catalog import CREATED
from local.offline.checks import (
    Range,
    check_one_of,
    check_range,
    check_ranges,
    check_type,
    ids_in,
    metadata_in,
    missing,
    required_text,
    wrong_type,
)
from local.offline.embeddings import likeness, vector
from local.offline.refusal import Refusal
from local.offline.script import Reply
from local.offline.shelf import Json, matching, new_id, page
from local.offline.tokens import split_tokens

_STATUSES: Final = ("in_progress", "completed", "failed", "cancelled")
_DAY_SECONDS: Final = 86_400
_DIMENSIONS: Final = 256
_AUTO: Final[Json] = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}


def create(call: Call) -> Reply:
    """POST /v1/vector_stores."""
    body = call.optional_body
    described: Json = {
        "id": new_id("vs_"), "object": "vector_store", "created_at": CREATED, "name": body.get("name") or "",
        "description": body.get("description"), "usage_bytes": 0, "status": "completed", "expires_after": None,
        "expires_at": None, "last_active_at": CREATED, "metadata": metadata_in(body),
    }  # fmt: skip
    described |= _expiry(body)
    vector_store = VectorStore(described)
    _check_strategy(body)
    for file in ids_in(body, "file_ids"):
        _add(call, vector_store, file, body)
    call.account.vector_stores.put(described["id"], vector_store)
    return document(_described(vector_store))


def list_all(call: Call) -> Reply:
    """GET /v1/vector_stores."""
    return document(page([_described(one) for one in call.account.vector_stores.values()], call.query))


def retrieve(call: Call) -> Reply:
    """GET /v1/vector_stores/{vector_store_id}."""
    return document(_described(_named(call)))


def update(call: Call) -> Reply:
    """POST /v1/vector_stores/{vector_store_id}: name, metadata, expiry."""
    vector_store, body = _named(call), call.body
    if body.get("name") is not None:
        vector_store.described["name"] = required_text(body, "name")
    if "metadata" in body:
        vector_store.described["metadata"] = metadata_in(body)
    vector_store.described |= _expiry(body)
    return document(_described(vector_store))


def delete(call: Call) -> Reply:
    """DELETE /v1/vector_stores/{vector_store_id}: the files themselves stay."""
    call.account.vector_stores.take(call.names["vector_store_id"])
    return deleted("vector_store.deleted", call.names["vector_store_id"])


def add_file(call: Call) -> Reply:
    """POST /v1/vector_stores/{vector_store_id}/files."""
    vector_store = _named(call)
    _check_strategy(call.body)
    return document(_add(call, vector_store, required_text(call.body, "file_id"), call.body))


def list_files(call: Call) -> Reply:
    """GET /v1/vector_stores/{vector_store_id}/files, by status."""
    return _page_of_files(call, _named(call).files.values())


def retrieve_file(call: Call) -> Reply:
    """GET /v1/vector_stores/{vector_store_id}/files/{file_id}."""
    return document(_named(call).files.get(call.names["file_id"]))


def update_file(call: Call) -> Reply:
    """POST /v1/vector_stores/{vector_store_id}/files/{file_id}: new attributes."""
    file = _named(call).files.get(call.names["file_id"])
    file["attributes"] = _attributes(call.body)
    return document(file)


def remove_file(call: Call) -> Reply:
    """DELETE /v1/vector_stores/{vector_store_id}/files/{file_id}: the file itself stays."""
    _named(call).files.take(call.names["file_id"])
    return deleted("vector_store.file.deleted", call.names["file_id"])


def file_content(call: Call) -> Reply:
    """GET /v1/vector_stores/{vector_store_id}/files/{file_id}/content: the text that was found in it."""
    file = _named(call).files.get(call.names["file_id"])
    data = [{"type": "text", "text": _text(call, file["id"])}]
    kind = "vector_store.file_content.page"
    return document({"object": kind, "data": data, "has_more": False, "next_page": None})


def create_batch(call: Call) -> Reply:
    """POST /v1/vector_stores/{vector_store_id}/file_batches: files with the same settings, or each with its own."""
    vector_store, body = _named(call), call.body
    _check_strategy(body)
    settings = dict.fromkeys(ids_in(body, "file_ids"), body) or _own_settings(body)
    if not settings:
        raise missing("file_ids")
    for file in settings:
        call.account.files.get(file)  # before any is added
    for file, own in settings.items():
        _add(call, vector_store, file, own)
    batch = {
        "id": new_id("vsfb_"), "object": "vector_store.files_batch", "created_at": CREATED, "status": "completed",
        "vector_store_id": vector_store.described["id"],
        "file_counts": _counts([vector_store.files.get(file) for file in settings]),
    }  # fmt: skip
    vector_store.batch_files[batch["id"]] = list(settings)
    return document(vector_store.batches.put(batch["id"], batch))


def retrieve_batch(call: Call) -> Reply:
    """GET /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}."""
    return document(_named(call).batches.get(call.names["batch_id"]))


def cancel_batch(call: Call) -> Reply:
    """POST /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel: always too late, so nothing changes."""
    return document(_named(call).batches.get(call.names["batch_id"]))


def list_batch_files(call: Call) -> Reply:
    """GET /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}/files, by status."""
    vector_store = _named(call)
    vector_store.batches.get(call.names["batch_id"])
    files = [vector_store.files.find(file) for file in vector_store.batch_files[call.names["batch_id"]]]
    return _page_of_files(call, [file for file in files if file is not None])


def search(call: Call) -> Reply:
    """POST /v1/vector_stores/{vector_store_id}/search: the files that share most tokens with the query come first."""
    vector_store, body = _named(call), call.body
    query = body.get("query")
    queries = [query] if isinstance(query, str) else ids_in(body, "query")
    if not queries:
        raise missing("query")
    most = body.get("max_num_results") or 10
    check_range("max_num_results", most, Range("integer", 1, 50))
    wanted = vector(split_tokens(" ".join(queries)), _DIMENSIONS)
    ranking = body.get("ranking_options") or {}
    check_type("ranking_options", ranking, (dict,))
    check_ranges(ranking, {"score_threshold": Range("decimal", 0, 1)})
    least = ranking.get("score_threshold") or 0
    passed = [file for file in vector_store.files.values() if _passes(body.get("filters"), file["attributes"])]
    found = [_found(call, file, wanted) for file in passed]
    found = sorted((one for one in found if one["score"] >= least), key=lambda one: -one["score"])
    return document({
        "object": "vector_store.search_results.page", "search_query": queries, "data": found[:most],
        "has_more": False, "next_page": None,
    })  # fmt: skip


def _named(call: Call) -> VectorStore:
    return call.account.vector_stores.get(call.names["vector_store_id"])


def _described(vector_store: VectorStore) -> Json:
    files = vector_store.files.values()
    used = sum(file["usage_bytes"] for file in files)
    return {**vector_store.described, "usage_bytes": used, "file_counts": _counts(files)}


def _counts(files: list[Json]) -> Json:
    counts = {status: sum(file["status"] == status for file in files) for status in _STATUSES}
    return {**counts, "total": len(files)}


def _expiry(body: Mapping[str, Any]) -> Json:
    wanted = body.get("expires_after")
    if wanted is None:
        return {}
    check_type("expires_after", wanted, (dict,))
    check_one_of("expires_after.anchor", wanted.get("anchor"), ("last_active_at",))
    check_range("expires_after.days", wanted.get("days"), Range("integer", 1, 365))
    return {"expires_after": wanted, "expires_at": CREATED + wanted["days"] * _DAY_SECONDS}


def _check_strategy(body: Mapping[str, Any]) -> None:
    if (strategy := body.get("chunking_strategy")) is not None:
        check_type("chunking_strategy", strategy, (dict,))
        check_one_of("chunking_strategy.type", strategy.get("type"), ("auto", "static"))
        if strategy["type"] == "static":
            _check_sizes(strategy.get("static") or {})


def _check_sizes(sizes: Any) -> None:
    at = "chunking_strategy.static"
    check_type(at, sizes, (dict,))
    check_range(f"{at}.max_chunk_size_tokens", sizes.get("max_chunk_size_tokens"), Range("integer", 100, 4096))
    half = sizes["max_chunk_size_tokens"] / 2
    check_range(f"{at}.chunk_overlap_tokens", sizes.get("chunk_overlap_tokens"), Range("integer", 0, half))


def _add(call: Call, vector_store: VectorStore, key: str, settings: Mapping[str, Any]) -> Json:
    file = call.account.files.get(key)
    strategy = settings.get("chunking_strategy") or {"type": "auto"}
    return vector_store.files.put(key, {
        "id": key, "object": "vector_store.file", "created_at": CREATED, "usage_bytes": len(file.content),
        "vector_store_id": vector_store.described["id"], "status": "completed", "last_error": None,
        "chunking_strategy": _AUTO if strategy["type"] == "auto" else strategy, "attributes": _attributes(settings),
    })  # fmt: skip


def _attributes(settings: Mapping[str, Any]) -> Json:
    attributes = settings.get("attributes") or {}
    check_type("attributes", attributes, (dict,))
    for name, value in attributes.items():
        check_type(f"attributes.{name}", value, (str, int, float, bool))
    return dict(attributes)


def _own_settings(body: Mapping[str, Any]) -> dict[str, Json]:
    files = body.get("files") or []
    check_type("files", files, (list,))
    for index, file in enumerate(files):
        if not isinstance(file, dict):
            raise wrong_type(f"files[{index}]", file, "an object")
        _check_strategy(file)
    return {required_text(file, "file_id"): file for file in files}


def _page_of_files(call: Call, files: list[Json]) -> Reply:
    status = call.query.get("filter")
    if status is not None:
        check_one_of("filter", status, _STATUSES)
    return document(page(matching(files, lambda file: file["status"] == status, wanted=status), call.query))


def _text(call: Call, key: str) -> str:
    """The text of a file; a file that was deleted meanwhile has none."""
    file = call.account.files.find(key)
    return file.content.decode(errors="replace") if file else ""


def _found(call: Call, file: Json, wanted: list[float]) -> Json:
    text = _text(call, file["id"])
    stored = call.account.files.find(file["id"])
    score = max(0.0, likeness(wanted, vector(split_tokens(text), _DIMENSIONS)))
    return {
        "file_id": file["id"],
        "filename": stored.described["filename"] if stored else "",
        "score": round(score, 6),
        "attributes": file["attributes"],
        "content": [{"type": "text", "text": text}],
    }


_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda have, want: have == want,
    "ne": lambda have, want: have != want,
    "gt": lambda have, want: have > want,
    "gte": lambda have, want: have >= want,
    "lt": lambda have, want: have < want,
    "lte": lambda have, want: have <= want,
    "in": lambda have, want: have in want,
    "nin": lambda have, want: have not in want,
}


def _passes(wanted: Any, attributes: Json) -> bool:
    """Whether a file's attributes pass a filter: a comparison, or several joined by `and` or `or`."""
    if wanted is None:
        return True
    check_type("filters", wanted, (dict,))
    kind = wanted.get("type")
    check_one_of("filters.type", kind, (*_COMPARISONS, "and", "or"))
    if kind in ("and", "or"):
        check_type("filters.filters", wanted.get("filters"), (list,))
        passed = [_passes(one, attributes) for one in wanted["filters"]]
        return all(passed) if kind == "and" else any(passed)
    have = attributes.get(required_text(wanted, "key"))
    try:
        return have is not None and _COMPARISONS[kind](have, wanted.get("value"))
    except TypeError:
        message = "The value of a filter cannot be compared with the attribute."
        raise Refusal(400, message, param="filters", code="invalid_type") from None
