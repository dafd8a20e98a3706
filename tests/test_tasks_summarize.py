"""Summaries of texts that no model can read at once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core import errors, text_parts
from core.summarize import Plan
from task_service import COST_NANO_USD, Reply, TaskService, said, text_of

pytestmark = pytest.mark.anyio

_BUDGET = 10**9
_SENTENCE = "In year {0} the umbrella maker sold {0} umbrellas, which was more than ever. "
_LONG = "\n\n".join("".join(_SENTENCE.format(year * 10 + n) for n in range(10)) for year in range(300))


def _is_last(body: Mapping[str, Any]) -> bool:
    return "Summarise all of it" in said(body, "user")


def _model(body: Mapping[str, Any]) -> Reply:
    """Sums up by naming the numbers in the text."""
    user = said(body, "user")
    numbers = sorted(map(int, set(re.findall(r"year (\d+)", user))))
    return Reply(" ".join(f"year {number}" for number in numbers[:300]))


async def test_a_short_text_takes_one_call(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, lambda body: Reply("It rained.")) as service:
        answer = await service.call("/tasks/summarize", text="It rained all day.", style="a haiku", language="French")
        assert (answer["output"], answer["calls"], answer["usage"]["total_tokens"]) == ("It rained.", 1, 30)
        (asked,) = service.asked
        for wish in ("It rained all day.", "a haiku", "French", "about 200 words"):
            assert wish in said(asked, "user")


@pytest.mark.parametrize(("length", "words"), [("short", 60), ("long", 600), (77, 77)])
async def test_its_length(tmp_path: Path, length: object, words: int) -> None:
    async with TaskService.running(tmp_path) as service:
        await service.call("/tasks/summarize", text="It rained.", length=length)
        assert f"about {words} words" in said(service.asked[0], "user")


async def test_a_long_text_is_read_in_parts_that_together_are_the_text(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, _model, total_nano_usd=_BUDGET) as service:
        answer = await service.call("/tasks/summarize", text=_LONG)
        parts = [body for body in service.asked if "Summarise part" in said(body, "user")]
        read = {number for body in parts for number in re.findall(r"year (\d+)", said(body, "user"))}
        assert read == {str(number) for number in range(3000)}
        assert answer["calls"] == len(service.asked) > len(parts) > 1
        assert [_is_last(body) for body in service.asked].count(True) == 1
        assert answer["usage"]["total_tokens"] == 30 * len(service.asked)
        assert await service.spending() == (len(service.asked) * COST_NANO_USD,) * 3 + (0,)
        (row,) = await service.usage()
        assert (row.endpoint, row.requests) == ("tasks.summarize", 1)


async def test_a_model_with_a_small_context_reads_it_on_several_levels(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, _model, total_nano_usd=_BUDGET) as service:
        text = _LONG[:100_000]
        answer = await service.call("/tasks/summarize", text=text, model="small")
        assert answer["calls"] == len(service.asked) > 20
        for body in service.asked:
            # A token has a byte at least.
            assert len(json.dumps(body, ensure_ascii=False).encode()) + body["max_completion_tokens"] < 8_000


async def test_two_megabytes(tmp_path: Path) -> None:
    text = ("Drizzle, naïve and 漢字, fell on the town. " * 40 + "\n\n") * 1_100
    assert len(text.encode()) > 1_900_000
    async with TaskService.running(tmp_path, lambda body: Reply("wet " * 700), total_nano_usd=10**10) as service:
        answer = await service.call("/tasks/summarize", text=text)
        assert answer["calls"] == len(service.asked) < 60
        assert answer["finish_reason"] == "stop"


async def test_progress_then_the_summary(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path, lambda body: Reply("rain and more rain")) as service:
        told = await service.stream("/tasks/summarize", text=_LONG)
        done = told[-1]
        steps = [(event["done"], event["total"]) for event in told if event["type"] == "progress"]
        assert steps == [(number, done["calls"]) for number in range(1, done["calls"])]
        assert text_of(told) == done["output"] == "rain and more rain"
        kinds = [event["type"] for event in told]
        assert kinds.index("delta") > len(steps) - 1


async def test_parts_are_read_at_the_same_time(tmp_path: Path) -> None:
    held = asyncio.Event()

    def model(body: Mapping[str, Any]) -> Reply:
        waiting = len(service.asked)
        if waiting == 2:
            held.set()  # nobody answers before two are asked
        return Reply("rain", held=held)

    async with TaskService.running(tmp_path, model) as service:
        await service.call("/tasks/summarize", text=_LONG)


async def test_a_budget_that_cannot_bear_all_of_it_bears_nothing(tmp_path: Path) -> None:
    """Whether it runs out in the middle is known before the beginning."""
    async with TaskService.running(tmp_path, _model, total_nano_usd=_BUDGET) as service:
        answer = await service.call("/tasks/summarize", text=_LONG)
        enough_for_half = int(float(answer["usage"]["cost_usd"]) * 1e9) // 2
    async with TaskService.running(tmp_path, _model, total_nano_usd=enough_for_half + COST_NANO_USD) as service:
        status, error = await service.refused("/tasks/summarize", text=_LONG, stream=True)
        assert (status, error["code"], service.asked) == (429, "insufficient_quota", [])
        # What is left is there for others.
        assert (await service.spending()).reserved_nano_usd == 0


async def test_of_two_at_once_only_what_the_budget_bears_is_begun(tmp_path: Path) -> None:
    held = asyncio.Event()
    async with TaskService.running(
        tmp_path, lambda body: Reply("rain", held=held), total_nano_usd=6 * 10**7
    ) as service:
        one = asyncio.ensure_future(service.call("/tasks/summarize", text=_LONG))
        await service.holding.wait()
        reserved = (await service.spending()).reserved_nano_usd
        assert 3 * 10**7 < reserved < 6 * 10**7
        assert (await service.refused("/tasks/summarize", text=_LONG))[1]["code"] == "insufficient_quota"
        held.set()
        await one
        spent = await service.spending()
        assert (spent.reserved_nano_usd, spent.total_nano_usd) == (0, len(service.asked) * COST_NANO_USD)


@pytest.mark.parametrize("stream", [False, True])
async def test_where_a_part_fails_the_others_are_given_up_and_paid(tmp_path: Path, stream: bool) -> None:
    def model(body: Mapping[str, Any]) -> Reply:
        return Reply(status="500 Oh") if "Summarise part 3 " in said(body, "user") else Reply("rain")

    async with TaskService.running(tmp_path, model, total_nano_usd=_BUDGET) as service:
        response = await service.send("/tasks/summarize", text=_LONG, stream=stream)
        if not isinstance(response.body, bytes):
            content = b"".join([chunk async for chunk in response.body])
            assert b'{"error":' in content
            assert b'"done","' not in content
        else:
            assert response.status == 500
        spent = await service.spending()
        assert spent.reserved_nano_usd == 0
        assert not any(_is_last(body) for body in service.asked)


async def test_a_client_that_leaves_stops_it(tmp_path: Path) -> None:
    held = asyncio.Event()

    def model(body: Mapping[str, Any]) -> Reply:
        return Reply("rain") if "Summarise part 1 " in said(body, "user") else Reply("rain", held=held)

    async with TaskService.running(tmp_path, model, total_nano_usd=_BUDGET) as service:
        response = await service.send("/tasks/summarize", text=_LONG, stream=True)
        assert not isinstance(response.body, bytes)
        assert b'"progress"' in await anext(response.body)
        await response.body.aclose()
        spent = await service.spending()
        assert spent.reserved_nano_usd == 0
        assert spent.total_nano_usd >= COST_NANO_USD
        asked = len(service.asked)
        held.set()
        await service.call("/tasks/generate", instruction="x")
        assert len(service.asked) == asked + 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(Reply("half", finish_reason="length"), "length"), (Reply("", refusal="I cannot."), "refusal")],
)
async def test_a_part_that_is_not_whole_is_not_hidden(tmp_path: Path, reply: Reply, reason: str) -> None:
    def model(body: Mapping[str, Any]) -> Reply:
        return reply if "Summarise part 2 " in said(body, "user") else Reply("rain")

    async with TaskService.running(tmp_path, model) as service:
        answer = await service.call("/tasks/summarize", text=_LONG)
        assert (answer["output"], answer["finish_reason"]) == ("rain", reason)
        combined = next(body for body in service.asked if "Summary 2" in said(body, "user"))
        assert ("half" in said(combined, "user")) == (reason == "length")
        assert "I cannot." not in said(combined, "user")


async def test_a_text_that_would_take_too_many_calls(tmp_path: Path) -> None:
    async with TaskService.running(tmp_path) as service:
        status, error = await service.refused("/tasks/summarize", text=_LONG * 10, model="small")
        assert (status, error["param"], error["code"]) == (400, "text", "text_too_long")
        status, error = await service.refused("/tasks/summarize", text="x", model="small", max_output_tokens=7_900)
        assert (status, error["param"]) == (400, "model")


@pytest.mark.parametrize("window_bytes", [1_000, 5_000, 48_000, 10**6])
@pytest.mark.parametrize("size", [1, 999, 30_000, 60_000])
def test_a_plan_ends_in_one_call_and_fits(window_bytes: int, size: int) -> None:
    plan = Plan.of("word " * (size // 5 + 1), window_bytes)
    assert plan.levels[-1] == 1
    assert all(-(-level // plan.group) == after for level, after in zip(plan.levels, plan.levels[1:], strict=False))
    assert max(map(text_parts.encoded_bytes, plan.parts)) <= window_bytes
    assert plan.group * (plan.summary_bytes + 200) <= window_bytes
    assert plan.group >= 2


def test_a_plan_has_no_more_calls_than_are_made() -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        Plan.of("word " * 100_000, 1_000)
    assert caught.value.code == "text_too_long"
