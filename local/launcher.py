"""One run of the local deployment, from its first line to the stop of its last process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path

from core import app_keys
from local import state_folder
from local.failure import Failure
from local.keys import LocalKeys, ensure_keys, read_keys
from local.native_keys import put_app_key
from local.private_file import PrivateFile
from local.running import Running, check_port
from local.screen import Screen
from local.services import CLOUDS, OFFLINE_KEY, STORES, Deployment, Service

_OPENAI_URL = "https://api.openai.com/v1"
_STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _End(Enum):
    """How a run ends that does not fail. The value is its exit code."""

    ASKED_FOR = 0
    UNSEEN = 1
    """Nobody can see any longer what it writes."""


def launch(options: argparse.Namespace) -> int:
    """The exit code."""
    try:
        return asyncio.run(_until_stopped(options)).value
    except Failure as error:
        with contextlib.suppress(OSError):
            print(f"trefoil: {error}", file=sys.stderr)
        return 1


async def _until_stopped(options: argparse.Namespace) -> _End:
    """Run to the end, or until a signal says stop, or until there is no screen to show anything on."""
    screen, signalled = Screen(sys.stdout), asyncio.Event()
    for number in _STOPPING_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    work = asyncio.create_task(_run(options, screen))
    ends = [asyncio.create_task(signalled.wait()), asyncio.create_task(screen.closed.wait())]
    await asyncio.wait([work, *ends], return_when=asyncio.FIRST_COMPLETED)
    for task in (work, *ends):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return _End.UNSEEN if screen.closed.is_set() else _End.ASKED_FOR


async def _run(options: argparse.Namespace, screen: Screen) -> None:
    description = PrivateFile(options.json) if options.json else None
    if description:
        _attempt(description.check, options.json)
    deployment = _deployment(options, os.environ, screen)
    names = tuple(dict.fromkeys(options.cloud or CLOUDS))
    with state_folder.held(deployment.state):
        # Before anything is made: a run that cannot start leaves everything as it was.
        stores = [STORES[name] for name in names] if deployment.native_stores else []
        for name in [*(["upstream"] if deployment.is_offline else []), *stores, *names]:
            check_port(deployment.port(name), name)
        keys = await _keys(deployment)
        deployment = replace(deployment, admin_key=keys.admin_key)
        clouds = [deployment.cloud(name) for name in names]
        services = [
            *([deployment.upstream()] if deployment.is_offline else []),
            *(deployment.store(name) for name in names if deployment.native_stores),
            *clouds,
        ]
        output = _Output(screen)
        running = Running(output.write)
        try:
            await _start(running, services, screen)
            if deployment.native_stores:
                await running.unless_one_stops(_put_app_key(deployment, names))
            if description:
                text = _describe(deployment, clouds, keys)
                _attempt(lambda: description.write(text), options.json)
            await _show(options, deployment, running, clouds, keys, screen)
            if not options.once:
                output.shown = True
                await running.failure()
        finally:
            output.shown = False
            screen.say("stopping")
            await running.stop()


async def _keys(deployment: Deployment) -> LocalKeys:
    """The run's keys; where the store is a file, it knows the app key by now."""
    if deployment.native_stores:
        return read_keys(deployment.state)
    return await ensure_keys(deployment.state, deployment.store_file)


async def _put_app_key(deployment: Deployment, names: Sequence[str]) -> None:
    for name in names:
        await put_app_key(name, deployment.cloud_environ(name), deployment.state)


async def _start(running: Running, services: Sequence[Service], screen: Screen) -> None:
    for service in services:
        screen.say(f"starting {service.name} on {service.url}")
        await running.start(service)
    # The OpenAI client: half a second, well spent while the services start.
    from local import sample  # noqa: F401, PLC0415

    for service in services:
        screen.say(f"{service.name} answers after {await running.answering(service):.1f} s")


async def _show(
    options: argparse.Namespace,
    deployment: Deployment,
    running: Running,
    clouds: Sequence[Service],
    keys: LocalKeys,
    screen: Screen,
) -> None:
    """Show that each cloud works and, where it stays up, how to use it."""
    from local import sample  # noqa: PLC0415

    for service in clouds:
        await running.unless_one_stops(sample.show(service, screen, model=options.model, app_key=keys.app_key))
    if options.once:
        return
    for service in clouds:
        screen.say(
            sample.instructions(service, model=options.model, app_key=keys.app_key, admin_key=keys.admin_key),
        )
    if deployment.is_offline:
        screen.say("Answers are canned: they come from the offline upstream, not from a model.")
    screen.say("Requests are shown below as they are answered. Ctrl-C stops everything.")


def _attempt(use: Callable[[], None], file: Path) -> None:
    try:
        use()
    except OSError as error:
        raise Failure(f"--json: {file} cannot be written ({error.strerror}): name another file") from None


def _deployment(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> Deployment:
    """What is to run, having said which upstream it calls and with which credential."""
    key = environ.get("OPENAI_API_KEY", "")
    if key.startswith(app_keys.PREFIX):
        screen.say("OPENAI_API_KEY holds one of Trefoil's own app keys, which is no key for OpenAI: not using it")
        key = ""
    url = options.upstream or (_OPENAI_URL if key else None)
    if options.upstream:
        credential = "your OPENAI_API_KEY, which is set" if key else "a placeholder key (OPENAI_API_KEY sets another)"
        screen.say(f"the upstream is {url}, called with {credential}")
    elif key:
        screen.say(f"the upstream is OpenAI ({url}), for OPENAI_API_KEY is set: the calls are real and cost money")
    else:
        screen.say("the upstream is the offline one, whose answers are canned (set OPENAI_API_KEY to use OpenAI)")
    return Deployment(
        port_base=options.port_base,
        state=options.state.resolve(),
        upstream_url=url,
        upstream_key=key or OFFLINE_KEY,
        environ=environ,
        core_tools=options.func,
        native_stores=options.stores == "native",
    )


class _Output:
    """What the services write: shown once all are up. Of one that fails, its last line is the reason that is given."""

    shown = False

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def write(self, service: str, line: str) -> None:
        if self.shown:
            self._screen.say(f"{service:<9} | {line}")


def _describe(deployment: Deployment, clouds: Sequence[Service], keys: LocalKeys) -> str:
    stores = {service.name: dict(deployment.store_environ(service.name)) for service in clouds}
    description = {
        "upstream_url": deployment.upstream_base_url,
        "base_urls": {service.name: f"{service.url}/v1" for service in clouds},
        "app_key": keys.app_key,
        "admin_key": keys.admin_key,
        "stores": {name: variables.pop("TREFOIL_STORE") for name, variables in stores.items()},
        "store_variables": stores,
    }
    return json.dumps(description, indent=2)
