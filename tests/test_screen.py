"""What a run says, on screens that are not all what one would wish."""

from __future__ import annotations

import asyncio
import io
import os

import pytest

from local.screen import Screen


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_encoding_lacks_is_a_question_mark(encoding: str) -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding)
    Screen(stream).say("“café” 漢字 🍀", end="")
    assert buffer.getvalue() == "“café” 漢字 🍀".encode(encoding, "replace")


def test_a_screen_that_closes_is_noticed_and_no_error() -> None:
    reading, writing = os.pipe()

    async def run(screen: Screen) -> None:
        screen.say("seen")
        assert os.read(reading, 100) == b"seen\n"
        os.close(reading)
        assert not screen.closed.is_set()
        screen.say("unseen")
        await asyncio.wait_for(screen.closed.wait(), 10)
        screen.say("and no more")

    with open(writing, "w", encoding="utf-8") as stream:
        asyncio.run(run(Screen(stream)))
    # Closing it wrote what was left, and did not fail either.
