"""Conversations: what is remembered, for whom, and what becomes of it when two speak at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import app_data
from core.admin import Admin
from core.conversations import Conversations
from core.ports import App, Key, StoreError, Value
from core.sqlite_store import SqliteStore
from recording_store import RecordingStore
from task_service import COST_NANO_USD, TASKS, Reply, TaskService, said

pytestmark = pytest.mark.anyio

_APP = App(id="shop", created_at=0)
_DAY = 86_400


def _echo(body: Mapping[str, Any]) -> Reply:
    return Reply(f"You said {body['messages'][-1]['content']}.")


async def _turns(service: TaskService, conversation: str, query: str = "") -> list[tuple[int, str]]:
    found = await service.call(f"/tasks/conversations/{conversation}", "GET", query=query)
    return [(turn["turn"], turn["message"]) for turn in found["turns"]]


async def test_it_remembers(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, _echo, total_nano_usd=10**9) as service:
        first = await service.call("/tasks/converse", message="one", system="Speak like a pirate.")
        name = first["conversation_id"]
        assert name.startswith("conv_")
        assert (first["output"], first["turn"], first["turns_shown"]) == ("You said one.", 1, 0)
        second = await service.call("/tasks/converse", message="two", conversation_id=name)
        assert (second["conversation_id"], second["turn"], second["turns_shown"]) == (name, 2, 1)
        roles_and_texts = [(one["role"], one["content"]) for one in service.asked[1]["messages"]]
        assert roles_and_texts[1:] == [
            ("system", "Speak like a pirate."),
            ("user", "one"),
            ("assistant", "You said one."),
            ("user", "two"),
        ]
        found = await service.call(f"/tasks/conversations/{name}", "GET")
        assert (found["last_turn"], found["has_more"], found["system"]) == (2, False, "Speak like a pirate.")
        assert [turn["output"] for turn in found["turns"]] == ["You said one.", "You said two."]
        assert (await service.spending()).total_nano_usd == 2 * COST_NANO_USD


async def test_a_stream_is_remembered_when_it_is_whole(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, _echo) as service:
        told = await service.stream("/tasks/converse", message="one", conversation_id="c")
        assert (told[-1]["turn"], told[-1]["conversation_id"]) == (1, "c")
        service.model = lambda body: Reply("some words", breaks=True)
        assert "error" in (await service.stream("/tasks/converse", message="lost", conversation_id="c"))[-1]
        assert await _turns(service, "c") == [(1, "one")]


async def test_two_messages_at_once_lose_neither(tmp_path: Path) -> None:
    held = asyncio.Event()

    def model(body: Mapping[str, Any]) -> Reply:
        if len(service.asked) == 20:
            held.set()
        return Reply("yes", held=held)

    async with TaskService.running(tmp_path, model) as service:
        messages = [f"message {number}" for number in range(20)]
        answers = await asyncio.gather(
            *(service.call("/tasks/converse", message=message, conversation_id="c", user="u") for message in messages)
        )
        assert sorted(answer["turn"] for answer in answers) == list(range(1, 21))
        kept = await _turns(service, "c", "user=u")
        assert sorted(message for _, message in kept) == sorted(messages)
        again = await service.call("/tasks/converse", message="and now", conversation_id="c", user="u")
        assert (again["turn"], again["turns_shown"]) == (21, 20)


async def test_it_is_one_user_s(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, _echo) as service:
        await service.call("/tasks/converse", message="mine", conversation_id="c", user="ann")
        for other in ({"user": "bob"}, {}):
            status, error = await service.refused("/tasks/converse", message="x", conversation_id="c", **other)
            assert (status, error["param"]) == (404, "conversation_id")
        for query in ("user=bob", ""):
            assert (await service.refused("/tasks/conversations/c", "GET", query=query))[0] == 404
            assert (await service.refused("/tasks/conversations/c", "DELETE", query=query))[0] == 404
        assert len(service.asked) == 1
        assert await _turns(service, "c", "user=ann") == [(1, "mine")]


async def test_it_is_one_app_s(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, _echo) as service:
        await service.call("/tasks/converse", message="mine", conversation_id="c")
        await service.store.put(App.key("other"), App(id="other", created_at=0).model_dump())
        service.app_key = await Admin(service.store).new_key("other")
        assert (await service.refused("/tasks/conversations/c", "GET"))[0] == 404
        assert (await service.call("/tasks/conversations", "GET"))["data"] == []
        assert (await service.call("/tasks/converse", message="mine", conversation_id="c"))["turn"] == 1


async def test_the_list_is_one_user_s_in_pages(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, _echo) as service:
        for name in ("a", "b", "c"):
            await service.call("/tasks/converse", message="x", conversation_id=name, user="ann")
        await service.call("/tasks/converse", message="x", conversation_id="d")
        first = await service.call("/tasks/conversations", "GET", query="user=ann&limit=2")
        rest = await service.call(
            "/tasks/conversations", "GET", query=f"user=ann&limit=2&after={first['data'][-1]['id']}"
        )
        assert (len(first["data"]), first["has_more"], rest["has_more"]) == (2, True, False)
        assert {one["id"] for one in first["data"] + rest["data"]} == {"a", "b", "c"}
        assert [one["id"] for one in (await service.call("/tasks/conversations", "GET"))["data"]] == ["d"]
        for query in ("limit=0", "limit=x", "user=", "users=ann", "user=a&user=b", "limit=101"):
            assert (await service.refused("/tasks/conversations", "GET", query=query))[0] == 400
        assert (await service.refused("/tasks/conversations", "GET", query="after=nobody"))[0] == 404


async def test_old_turns_are_read_in_pages(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, _echo) as service:
        for number in range(5):
            await service.call("/tasks/converse", message=str(number), conversation_id="c")
        last = await service.call("/tasks/conversations/c", "GET", query="limit=2")
        assert ([turn["message"] for turn in last["turns"]], last["has_more"]) == (["3", "4"], True)
        first = await service.call("/tasks/conversations/c", "GET", query=f"limit=3&before={last['turns'][0]['turn']}")
        assert ([turn["message"] for turn in first["turns"]], first["has_more"]) == (["0", "1", "2"], False)


async def test_the_oldest_are_left_out_where_the_model_cannot_read_all(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, lambda body: Reply("yes " * 100)) as service:
        for number in range(12):
            message = f"number {number} " + "x" * 700
            answer = await service.call("/tasks/converse", message=message, conversation_id="c", model="small")
        shown = said(service.asked[-1], "user")
        assert 0 < answer["turns_shown"] < 11
        assert "number 0 " not in shown
        assert "number 10 " in shown
        assert len(shown) + len(said(service.asked[-1], "assistant")) < 8_000
        assert len(await _turns(service, "c")) == 12


async def test_delete(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, _echo) as service:
        for message in ("one", "two"):
            await service.call("/tasks/converse", message=message, conversation_id="c", user="u")
        deleted = await service.call("/tasks/conversations/c", "DELETE", query="user=u")
        assert deleted == {"id": "c", "object": "task.conversation.deleted", "deleted": True}
        assert (await service.refused("/tasks/conversations/c", "GET", query="user=u"))[0] == 404
        assert (await service.call("/tasks/conversations", "GET", query="user=u"))["data"] == []
        assert [name async for name, _ in service.store.list("apps/shop/turns")] == []
        # Its name is free, and nothing of it comes back, for whoever begins it anew.
        again = await service.call("/tasks/converse", message="three", conversation_id="c", user="other")
        assert (again["turn"], again["turns_shown"]) == (1, 0)
        assert await _turns(service, "c", "user=other") == [(1, "three")]


async def test_what_is_answered_while_it_is_deleted_is_not_kept(tmp_path: Path) -> None:
    held = asyncio.Event()
    async with TaskService.running(tmp_path, _echo) as service:
        await service.call("/tasks/converse", message="one", conversation_id="c")
        service.model = lambda body: Reply("late", held=held)
        asking = asyncio.ensure_future(service.call("/tasks/converse", message="two", conversation_id="c"))
        await service.holding.wait()
        await service.call("/tasks/conversations/c", "DELETE")
        held.set()
        answer = await asking
        assert (answer["output"], answer["turn"]) == ("late", None)
        assert (await service.refused("/tasks/conversations/c", "GET"))[0] == 404
        assert [name async for name, _ in service.store.list("apps/shop/turns")] == []


async def test_a_store_that_fails_takes_nothing_from_the_client(tmp_path: Path) -> None:
    class Failing(RecordingStore):
        async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
            if key.partition.endswith("/turns"):
                raise StoreError("no")
            return await self.behind.put(key, value, if_absent=if_absent, expires_at=expires_at)

    store = SqliteStore(tmp_path / "failing.sqlite3")
    async with TaskService.running(tmp_path, _echo, store=Failing(store)) as service:
        answer = await service.call("/tasks/converse", message="one")
        assert (answer["output"], answer["turn"]) == ("You said one.", None)
    store.close()


async def test_it_is_deleted_with_its_app(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, _echo) as service:
        await service.call("/tasks/converse", message="one")
        await app_data.delete(service.store, "shop")
        for partition in ("apps/shop/turns", "apps/shop/conversations"):
            assert [name async for name, _ in service.store.list(partition)] == []


async def test_it_is_kept_so_many_days_after_its_last_turn(tmp_path: Path) -> None:
    now = [1_000_000_000.0]
    store = SqliteStore(tmp_path / "store.sqlite3", clock=lambda: now[0])
    conversations = Conversations(store, days=7, clock=lambda: now[0])
    one = conversations.begin("c", "u", None)
    assert await conversations.keep(_APP, one, message="a", output="b", finish_reason="stop")
    now[0] += 5 * _DAY
    found = await conversations.find(_APP, "c", "u")
    assert found is not None
    assert await conversations.keep(_APP, found, message="c", output="d", finish_reason="stop")
    now[0] += 5 * _DAY
    found = await conversations.find(_APP, "c", "u")
    assert found is not None
    turns = await conversations.turns(_APP, found, before=found.turns + 1, limit=10)
    assert [(turn.number, turn.message) for turn in turns] == [(2, "c")]
    now[0] += 3 * _DAY
    assert await conversations.find(_APP, "c", "u") is None
    assert await conversations.all_of(_APP, "u") == []
    store.close()


async def test_a_turn_that_is_written_while_its_conversation_is_deleted_goes_with_it(tmp_path: Path) -> None:
    class Meddling(RecordingStore):
        """Deletes the conversation, and begins it anew, as soon as its second turn is written."""

        async def put(self, key: Key, value: Value, *, if_absent: bool = False, expires_at: int | None = None) -> bool:
            done = await self.behind.put(key, value, if_absent=if_absent, expires_at=expires_at)
            if value.get("message") == "late":
                found = await others.find(_APP, "c", None)
                assert found is not None
                await others.delete(_APP, replace(found, turns=1))
                await others.keep(_APP, others.begin("c", None, None), message="new", output="x", finish_reason="stop")
            return done

    store = SqliteStore(tmp_path / "store.sqlite3")
    others = Conversations(store, days=7)
    conversations = Conversations(Meddling(store), days=7)
    one = conversations.begin("c", None, None)
    await conversations.keep(_APP, one, message="early", output="x", finish_reason="stop")
    found = await conversations.find(_APP, "c", None)
    assert found is not None
    late = await conversations.keep(_APP, found, message="late", output="x", finish_reason="stop")
    assert late is None
    assert [value["message"] async for _, value in store.list("apps/shop/turns")] == ["new"]
    store.close()


async def test_of_two_users_who_begin_it_at_once_one_has_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite3")
    conversations = Conversations(store, days=7)
    ann, bob = (conversations.begin("c", user, None) for user in ("ann", "bob"))
    assert await conversations.keep(_APP, ann, message="a", output="b", finish_reason="stop")
    assert await conversations.keep(_APP, bob, message="c", output="d", finish_reason="stop") is None
    again = conversations.begin("c", "ann", None)
    turn = await conversations.keep(_APP, again, message="e", output="f", finish_reason="stop")
    assert turn is not None
    assert turn.number == 2
    store.close()


async def test_the_days_are_the_operator_s(tmp_path: Path) -> None:
    toml = TASKS.replace('model = "m"\n', 'model = "m"\nconversation_days = 3\n', 1)
    async with TaskService.running(tmp_path, _echo, toml=toml) as service:
        name = (await service.call("/tasks/converse", message="one"))["conversation_id"]
        found = await service.call(f"/tasks/conversations/{name}", "GET")
        assert found["expires_at"] - found["updated_at"] == 3 * _DAY
