"""`python -m local`: start everything, show that it works, say how to use it, and stay up until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core import app_keys
from local.failure import Failure
from local.keys import LocalKeys, ensure_keys, write_private
from local.running import Running
from local.services import CLOUDS, OFFLINE_KEY, Deployment, Service
from local.staging import REPOSITORY

_OPENAI_URL = "https://api.openai.com/v1"
_DEFAULT_PORT_BASE = 8700
_DEFAULT_MODEL = "gpt-4o-mini"
_STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_until_stopped(options))
    except Failure as error:
        print(f"trefoil: {error}", file=sys.stderr)
        return 1
    return 0


async def _until_stopped(options: argparse.Namespace) -> None:
    """Run to the end, or until a signal says stop: that is the ordinary end, not a failure."""
    work = asyncio.ensure_future(_run(options))
    for number in _STOPPING_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work


async def _run(options: argparse.Namespace) -> None:
    deployment = _deployment(options, os.environ)
    clouds = [deployment.cloud(name) for name in dict.fromkeys(options.cloud or CLOUDS)]
    services = [deployment.upstream(), *clouds] if deployment.is_offline else clouds
    secrets = await ensure_keys(deployment.state)
    output = _Output()
    running = Running(output.write)
    try:
        for service in services:
            _say(f"starting {service.name} on {service.url}")
            await running.start(service)
        # And with it the OpenAI client: half a second, well spent while the services start.
        from local import sample  # noqa: PLC0415

        for service in services:
            _say(f"{service.name} answers after {await running.answering(service):.1f} s")
        if options.json:
            write_private(options.json, _description(deployment, clouds, secrets))
        for service in clouds:
            await sample.show(service, model=options.model, app_key=secrets.app_key)
        if not options.once:
            for service in clouds:
                _say(sample.instructions(service, model=options.model, app_key=secrets.app_key))
            if deployment.is_offline:
                _say("Answers are canned: they come from the offline upstream, not from a model.")
            _say("Requests are shown below as they are answered. Ctrl-C stops everything.")
            output.shown = True
            await running.failure()
    finally:
        output.shown = False
        _say("stopping")
        await running.stop()


def _deployment(options: argparse.Namespace, environ: Mapping[str, str]) -> Deployment:
    key = environ.get("OPENAI_API_KEY", "")
    if key.startswith(app_keys.PREFIX):
        _say("OPENAI_API_KEY holds one of Trefoil's own app keys, which is no key for OpenAI: not using it")
        key = ""
    if options.upstream:
        url = options.upstream
        _say(f"the upstream is {url}")
    elif key:
        url = _OPENAI_URL
        _say(f"the upstream is OpenAI ({url}), for OPENAI_API_KEY is set: the calls are real and cost money")
    else:
        url = None
        _say("the upstream is the offline one, whose answers are canned (set OPENAI_API_KEY to use OpenAI)")
    return Deployment(
        port_base=options.port_base,
        state=options.state.resolve(),
        upstream_url=url,
        upstream_key=key or OFFLINE_KEY,
        environ=environ,
        core_tools=options.func,
    )


class _Output:
    """What the services write: shown once all are up. Of one that fails, its last line is the reason that is given."""

    shown = False

    def write(self, service: str, line: str) -> None:
        if self.shown:
            _say(f"{service:<8} | {line}")


def _description(deployment: Deployment, clouds: Sequence[Service], secrets: LocalKeys) -> str:
    description = {
        "upstream_url": deployment.upstream_base_url,
        "base_urls": {service.name: f"{service.url}/v1" for service in clouds},
        "app_key": secrets.app_key,
        "admin_key": secrets.admin_key,
    }
    return json.dumps(description, indent=2)


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local", description="The three clouds on this machine, and the offline upstream behind them."
    )
    parser.add_argument("--cloud", action="append", choices=CLOUDS, help="start this one only; may be repeated")
    parser.add_argument(
        "--port-base",
        type=_port_base,
        default=_DEFAULT_PORT_BASE,
        metavar="N",
        help="upstream on port N, AWS on N+1, Azure on N+2, Google Cloud on N+3 (default: %(default)s)",
    )
    parser.add_argument(
        "--upstream",
        metavar="URL",
        help="an OpenAI-compatible base URL (default: OpenAI's where OPENAI_API_KEY is set, else the offline upstream)",
    )
    parser.add_argument("--model", default=_DEFAULT_MODEL, help="the sample calls' model (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="stop after the sample calls; exit 0 if all succeeded")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write base URLs and keys to FILE when all are up")
    parser.add_argument("--func", action="store_true", help="host the Azure app by Azure Functions Core Tools")
    parser.add_argument(
        "--state",
        type=Path,
        default=REPOSITORY / ".trefoil",
        metavar="DIR",
        help="where keys, the store and staged code lie (default: .trefoil in the checkout)",
    )
    return parser


def _port_base(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65_532:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 65532")
    return number


if __name__ == "__main__":
    sys.exit(main())
