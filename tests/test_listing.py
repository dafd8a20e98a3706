"""Pages of an app's own objects."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core import errors, listing
from core.kinds import Kind
from core.listing import Page

pytestmark = pytest.mark.anyio

_IDS = [f"file-{number:03}" for number in range(150)]
_GONE = "file-148"


async def _fetch(object_id: str, upstream: str | None) -> bytes | None:
    if object_id == _GONE:
        return None
    number = int(object_id[-3:])
    return json.dumps({"id": object_id, "purpose": "batch" if number % 2 else "vision"}).encode()


async def _page(query: str, kind: Kind = Kind.FILE) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(await listing.make(Page.read(kind, query), dict.fromkeys(_IDS), _fetch))
    return made


async def test_the_newest_come_first() -> None:
    page = await _page("limit=3")
    assert [one["id"] for one in page["data"]] == ["file-149", "file-147", "file-146"]  # 148 is gone
    assert (page["object"], page["first_id"], page["last_id"]) == ("list", "file-149", "file-146")
    assert page["has_more"] is True


async def test_pages_follow_each_other_to_the_end() -> None:
    seen: list[str] = []
    query = "limit=40"
    while True:
        page = await _page(query)
        seen += [one["id"] for one in page["data"]]
        if not page["has_more"]:
            break
        query = f"limit=40&after={page['last_id']}"
    assert seen == [object_id for object_id in reversed(_IDS) if object_id != _GONE]


async def test_from_the_oldest_on() -> None:
    page = await _page("limit=2&order=asc&after=file-009&before=file-011")
    assert [one["id"] for one in page["data"]] == ["file-010"]
    assert page["has_more"] is False


async def test_only_what_is_wanted() -> None:
    page = await _page("limit=100&purpose=batch")
    assert {one["purpose"] for one in page["data"]} == {"batch"}
    assert len(page["data"]) == 75


async def test_chats_begin_with_the_oldest_and_are_told_apart_by_metadata() -> None:
    async def fetch(object_id: str, upstream: str | None) -> bytes:
        return json.dumps(
            {"id": object_id, "metadata": {"a": object_id[-1]} if object_id > "file-100" else None}
        ).encode()

    page = Page.read(Kind.CHAT_COMPLETION, "limit=2&metadata%5Ba%5D=3")
    found = json.loads(await listing.make(page, dict.fromkeys(_IDS), fetch))
    assert [one["id"] for one in found["data"]] == ["file-103", "file-113"]


async def test_a_page_of_nothing() -> None:
    page = await _page("limit=0")
    assert (page["data"], page["first_id"], page["has_more"]) == ([], None, True)


async def test_an_empty_list() -> None:
    made = json.loads(await listing.make(Page.read(Kind.FILE, ""), {}, _fetch))
    assert made == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize("query", ["limit=-1", "limit=x", "limit=", "limit=²", "order=up"])
async def test_what_makes_no_sense_is_refused(query: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        await _page(query)
    assert caught.value.param == query.partition("=")[0]


@pytest.mark.parametrize("query", ["after=file-x", "before=file-x", "after="])
async def test_another_app_s_id_is_no_place_to_begin(query: str) -> None:
    with pytest.raises(errors.NotFound):
        await _page(query)


async def test_no_page_is_longer_than_a_hundred() -> None:
    assert len((await _page("limit=10000"))["data"]) == 100
