"""The benchmark's harness: its statistics, its fake upstream, its load generator. Its figures are nobody's to test."""

from __future__ import annotations

import subprocess
import sys

import pytest

from local.bench import accounting, bench, report
from local.bench.figures import Samples, percentile, slope
from local.failure import Failure
from local.staging import REPOSITORY

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([5.0], 0.99, 5.0), ([3.0, 1.0, 2.0], 0.5, 2.0), ([*map(float, range(1, 101))], 0.99, 99.0), ([1.0, 2.0], 0, 1.0)],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_slope() -> None:
    assert slope([(1, 10), (2, 12), (3, 14)]) == pytest.approx(2)
    assert slope([(1, 10)]) == 0


def test_ratios_are_of_the_same_round() -> None:
    samples = Samples()
    for ours, other in ((1.0, 10.0), (3.0, 30.0), (2.0, 40.0)):
        samples.add("ours", "cpu", ours)
        samples.add("other", "cpu", other)
    assert samples.median("ours", "cpu") == 2
    assert samples.spread("other", "cpu") == (10, 40)
    assert samples.ratio("cpu", "other", "ours") == 10
    assert samples.difference("cpu", "other", "ours") == 27


def test_a_ratio_of_unlike_rounds_is_refused() -> None:
    samples = Samples()
    samples.add("ours", "cpu", 1)
    with pytest.raises(ValueError, match="zip"):
        samples.ratio("cpu", "other", "ours")


async def test_whole_answers_are_counted_and_timed() -> None:
    async with bench.upstream() as port:
        outcome = await bench.load(port, bench.body(), at_once=4, count=40, warm_up=8)
    assert outcome.events == 0
    assert 0 < outcome.p50_ms <= outcome.p99_ms <= outcome.seconds * 1000


@pytest.mark.parametrize("pace_ms", [0, 1])
async def test_streams_are_read_to_their_end(pace_ms: int) -> None:
    content = bench.body(script=bench.stream_script(chunks=30, pace_ms=pace_ms))
    async with bench.upstream() as port:
        outcome = await bench.load(port, content, at_once=3, count=6)
    assert outcome.events == 6 * (30 + 1)  # and [DONE]
    assert outcome.first_p50_ms <= outcome.p50_ms


async def test_an_answer_that_is_none_fails_the_run() -> None:
    async with bench.upstream() as port:
        pass  # nobody listens there any more
    with pytest.raises(Failure, match="did not answer as it should"):
        await bench.load(port, bench.body(), at_once=1, count=1)


def test_what_a_process_used_includes_its_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        used = accounting.used(process.pid)
        process.stdin.close()
    assert 200 <= used.cpu_ms < 10_000
    assert 5 < used.rss_mb <= used.peak_mb
    assert used.all_mb > used.rss_mb


def test_what_is_gone_has_used_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert accounting.used(process.pid) == accounting.Used(0, 0, 0, 0)


def test_cpu_is_what_the_clock_says() -> None:
    """Of a process of its own: this one has others below it, of other tests."""
    program = (
        "import os, time; from local.bench import accounting; sum(range(10_000_000));"
        "print(accounting.used(os.getpid()).cpu_ms, time.process_time() * 1000)"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    counted, clock = map(float, told.stdout.split())
    assert counted == pytest.approx(clock, rel=0.2, abs=100)


def test_the_tables_replace_those_of_the_last_run() -> None:
    document = f"# Performance\n\n{report.BEGIN}\nold\n{report.END}\n\nMore\n"
    once = report.written(document, "new")
    assert once == f"# Performance\n\n{report.BEGIN}\n\nnew\n{report.END}\n\nMore\n"
    assert report.written(once, "new") == once
    with pytest.raises(ValueError, match="there is no"):
        report.written("# Performance", "new")


def test_a_table_is_written_both_ways() -> None:
    table = report.Table("Sizes", ("cloud", "MB"), [["aws", "12.1"], ["gcp", "0.2"]])
    assert table.markdown() == "**Sizes**\n\n| cloud | MB |\n| --- | --: |\n| aws | 12.1 |\n| gcp | 0.2 |\n"
    assert table.text() == "Sizes\ncloud    MB\naws    12.1\ngcp     0.2\n"
