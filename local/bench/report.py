"""What a run has found, as tables: on the terminal as they are, and in docs/performance.md between two marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from local.bench import cold_start, overhead
from local.bench.figures import Samples
from local.bench.workshop import CLOUDS

BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"
_LITELLM, _PORTKEY = "LiteLLM", "Portkey"

_MB, _MS, _KB = "{:.0f} MB", "{:.1f} ms", "{:.1f} KB per 1,000"
_ENDURANCE: Mapping[str, str] = {
    "rss at start": _MB,
    "rss after requests": _MB,
    "slope over requests": _KB,
    "rss after streams": _MB,
    "slope over streams": _KB,
    "growth by 1 of 10 MB": "{:.1f} times the body",
    "growth by 4 of 10 MB": "{:.1f} times the bodies",
    "open streams": "{:.0f}",
    "rss before streams": _MB,
    "rss with streams": _MB,
    "health alone p50": _MS,
    "health beside streams p50": _MS,
    "health beside streams p99": _MS,
    "calls alone p50": _MS,
    "calls beside streams p50": _MS,
    "calls beside streams p99": _MS,
    "growth by a slow reader": "{:.1f} MB",
}
"""The metrics of `local.bench.endurance`, and how each is written."""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.columns, ["---", *["--:"] * (len(self.columns) - 1)], *self.rows]
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

    def text(self) -> str:
        columns = [*zip(self.columns, *self.rows, strict=True)]
        widths = [max(map(len, column)) for column in columns]
        lines = (self._line(cells, widths) for cells in (self.columns, *self.rows))
        return "\n".join((self.title, *lines)) + "\n"

    @staticmethod
    def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
        first, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join((cells[0].ljust(len(first)), *others))


@dataclass(frozen=True, slots=True)
class Target:
    """What issue 7 asks for, and what this run found."""

    asked: str
    found: str
    met: bool

    def row(self) -> Sequence[str]:
        return self.asked, self.found, "met" if self.met else "**missed**"


def cold_starts(samples: Samples, names: Iterable[str]) -> Table:
    rows = []
    for name in names:
        cloud, _, kind = name.partition(", ")
        naive = cold_start.name(cloud, cold_start.NAIVE)
        is_ours = kind.startswith(cold_start.OURS)
        ratio = f"{samples.ratio('cpu', name, naive):.2f}" if is_ours else ""
        modules = samples.median(name, "modules")
        figures = [_spread(samples, name, "cpu"), ratio, _spread(samples, name, "wall")]
        rows.append([name, *figures, f"{modules:.0f}" if modules else "", f"{samples.median(name, 'peak'):.0f}"])
    columns = ("cold start", "CPU ms", "of the typed call's", "wall ms", "modules", "peak RSS MB")
    return Table("From a new process to the first answer", columns, rows)


def requests(samples: Samples, names: Iterable[str]) -> Table:
    rows = []
    for name in names:
        is_direct = name == overhead.DIRECT
        cells = [] if is_direct else [_spread(samples, name, f"cpu at {at}", 2) for at in overhead.AT_ONCE]
        cells += [""] * (len(overhead.AT_ONCE) - len(cells))
        for at_once in overhead.AT_ONCE:
            p50, p99 = (_added(samples, name, f"{share} at {at_once}") for share in ("p50", "p99"))
            cells.append(f"{p50} / {p99}")
        cells += [f"{samples.median(name, f'rate at {at}'):,.0f}" for at in overhead.AT_ONCE[1:]]
        rows.append([name, *cells, "" if is_direct else f"{samples.median(name, 'rss'):.0f}"])
    columns = (
        "whole answers",
        *(f"CPU ms, {at}" for at in overhead.AT_ONCE),
        *(f"p50 / p99 added ms, {at}" for at in overhead.AT_ONCE),
        *(f"requests/s, {at}" for at in overhead.AT_ONCE[1:]),
        "RSS MB",
    )
    return Table(f"Per request, at {', '.join(map(str, overhead.AT_ONCE))} at once", columns, rows)


def streams(samples: Samples, names: Iterable[str]) -> Table:
    rows = []
    for name in names:
        if not samples.has(name, "first chunk"):
            continue
        cpu = [_spread(samples, name, f"cpu per chunk, {how}") for how in ("paced", "burst")]
        if name == overhead.DIRECT:
            cpu = ["", ""]
        rows.append(
            [name, _added(samples, name, "first chunk"), *cpu, f"{samples.median(name, 'chunks/s, burst'):,.0f}"]
        )
    columns = ("streams", "first chunk added ms", "CPU µs/chunk, paced", "CPU µs/chunk, burst", "chunks/s, burst")
    return Table("Streams, 16 at once", columns, rows)


def endurance(samples: Samples, names: Iterable[str]) -> Table:
    clouds = [*names]
    rows = [
        [metric, *(form.format(samples.median(name, metric)) if samples.has(name, metric) else "" for name in clouds)]
        for metric, form in _ENDURANCE.items()
    ]
    return Table("One process under load", ("", *clouds), rows)


def store_operations(found: Mapping[str, str]) -> Table:
    return Table("What a call asks of the store", ("call", "operations"), [*found.items()])


def sizes(of: Callable[[str], Mapping[str, int]]) -> Table:
    rows = [[cloud, _mb(of(cloud)["zip_bytes"]), _mb(of(cloud)["unpacked_bytes"])] for cloud in CLOUDS]
    return Table("Packages (Google's installs the libraries itself)", ("cloud", "zip MB", "unpacked MB"), rows)


def targets(samples: Samples) -> list[Target]:
    """Those of issue 7 that this run can say something about."""
    found: list[Target] = []
    if samples.has(overhead.OURS, "cpu at 16"):
        found += _overhead_targets(samples)
    if samples.has("gcp", "slope over requests"):
        rss, grown = samples.median("gcp", "rss after streams"), samples.median("gcp", "slope over requests")
        found.append(Target("RSS at most 65 MB in one process", f"{rss:.0f} MB", rss <= 65))
        found.append(Target("slope under 10 KB per 1,000 requests", f"{grown:.1f} KB", grown < 10))
    for cloud in CLOUDS:
        naive = cold_start.name(cloud, cold_start.NAIVE)
        for kind in (cold_start.OURS, cold_start.STORED):
            ours = cold_start.name(cloud, kind)
            if samples.has(ours, "cpu"):
                ratio = samples.ratio("cpu", ours, naive)
                asked = f"cold start at most 0.45x of the typed call: {ours}"
                found.append(Target(asked, f"{ratio:.2f}x", ratio <= 0.45))
    if samples.has(_LITELLM, "wall"):
        share = samples.ratio("wall", _LITELLM, cold_start.name("gcp", cold_start.OURS))
        found.append(Target("start to first answer at most 1/14 of LiteLLM's (gcp)", f"1/{share:.1f}", share >= 14))
    return found


def _overhead_targets(samples: Samples) -> list[Target]:
    ours = overhead.OURS
    over_sdk = samples.difference("cpu at 16", overhead.MEMORY, overhead.RAW)
    own = samples.difference("cpu at 16", overhead.MEMORY, overhead.OWN_CLIENT)
    first = samples.difference("first chunk", ours, overhead.DIRECT)
    found = [
        Target(
            "own logic at most 0.05 ms above the bare raw SDK call (store free)", f"{over_sdk:.2f} ms", over_sdk <= 0.05
        ),
        Target("the same above the bare call by the same HTTP client", f"{own:.2f} ms", own <= 0.05),
        Target("added time to first chunk at most 1 ms", f"{first:.2f} ms", first <= 1),
    ]
    if samples.has(_LITELLM, "cpu at 16"):
        less = samples.ratio("cpu at 16", _LITELLM, ours)
        chunk = samples.ratio("cpu per chunk, paced", _LITELLM, ours)
        found.append(Target("CPU per request at 16 at least 10x less than LiteLLM", f"{less:.1f}x less", less >= 10))
        found.append(Target("CPU per streamed chunk at most 1/8 of LiteLLM", f"1/{chunk:.1f}", chunk >= 8))
    if samples.has(_PORTKEY, "cpu at 16"):
        more = samples.ratio("cpu at 16", ours, _PORTKEY)
        found.append(Target("CPU per request at 16 no more than Portkey", f"{more:.2f}x", more <= 1))
    return found


def target_table(found: Sequence[Target]) -> Table:
    return Table("Targets", ("target", "found", ""), [target.row() for target in found])


def written(document: str, content: str) -> str:
    """`document` with `content` between the marks, in the place of what stood there.

    Raises:
        ValueError: there are no marks.
    """
    before, begun, rest = document.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"there is no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{content}\n{END}{after}"


def _added(samples: Samples, name: str, metric: str) -> str:
    if name == overhead.DIRECT:
        return f"({samples.median(name, metric):.2f})"
    return f"{samples.difference(metric, name, overhead.DIRECT):.2f}"


def _spread(samples: Samples, name: str, metric: str, digits: int = 0) -> str:
    low, high = samples.spread(name, metric)
    return f"{samples.median(name, metric):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"
