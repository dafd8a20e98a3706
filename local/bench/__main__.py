"""python -m local.bench: what this service adds to a call, measured. `--help` lists the options."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import resource
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from local.bench import bench, cold_start, endurance, overhead, report, store_operations, workshop
from local.bench.bench import Bench
from local.bench.report import Table
from local.failure import Failure
from local.staging import REPOSITORY

_DOCUMENT = REPOSITORY / "docs/performance.md"
_PARTS = ("cold", "overhead", "endurance", "store", "size")
_FILES = 10_000
"""So many has to be open at once who holds 500 streams from both sides."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    _allow_files()
    try:
        tables = asyncio.run(_run(options))
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    print(*(table.text() for table in tables), sep="\n")
    if options.write:
        content = "\n".join((_circumstances(options), *(table.markdown() for table in tables)))
        _DOCUMENT.write_text(report.written(_DOCUMENT.read_text("utf-8"), content), "utf-8")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.bench")
    parser.add_argument("--quick", action="store_true", help="a minute, for a look: one round, and few requests")
    parser.add_argument("--rounds", type=int, help="of cold starts and of load (default: 5, or 1 with --quick)")
    parser.add_argument("--only", action="append", choices=_PARTS, help="this part; may be given again")
    parser.add_argument("--peers", default="", metavar="NAMES", help="of litellm, portkey, aiohttp")
    parser.add_argument("--write", action="store_true", help=f"the tables into {_DOCUMENT.relative_to(REPOSITORY)}")
    parser.add_argument("--keep-package", action="store_true", help="measure the artefacts that the last run built")
    return parser.parse_args(arguments)


async def _run(options: argparse.Namespace) -> list[Table]:
    """
    Raises:
        Failure: something could not be built, started or measured.
    """
    parts = options.only or _PARTS
    peers = tuple(filter(None, options.peers.split(",")))
    print("bench: preparing the packages", file=sys.stderr, flush=True)
    shop = await asyncio.to_thread(workshop.prepare, package=not options.keep_package)
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(bench.upstream())
        certificate = ("--certificate", str(shop.certificate), "--key", str(shop.certificate_key))
        tls = await stack.enter_async_context(bench.upstream(*certificate))
        run = Bench(shop, plain, tls, options.quick, options.rounds or (1 if options.quick else 5), peers)
        tables = []
        if "cold" in parts:
            tables.append(report.cold_starts(run.samples, await cold_start.measure(run)))
        if "overhead" in parts:
            names = await overhead.measure(run)
            tables += [report.requests(run.samples, names), report.streams(run.samples, names)]
        if "endurance" in parts:
            tables.append(report.endurance(run.samples, await endurance.measure(run)))
        if "store" in parts:
            tables.append(report.store_operations(await store_operations.measure(run)))
        if "size" in parts:
            tables.append(report.sizes(shop.sizes))
        targets = report.targets(run.samples)
        return [report.target_table(targets), *tables] if targets else tables


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, hard), hard))


def _circumstances(options: argparse.Namespace) -> str:
    busy = os.getloadavg()[2]
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} {platform.machine()} processors, Python "
        f"{platform.python_version()}, load average over the last 15 minutes {busy:.1f} (what is measured counts in it)"
        f"{', --quick' if options.quick else ''}. Medians, with the smallest and the largest in brackets.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
