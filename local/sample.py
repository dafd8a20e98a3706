"""One streamed chat through a cloud, with the stock OpenAI client, shown as it arrives."""

from __future__ import annotations

import time

import openai

from local.failure import Failure
from local.screen import Screen
from local.services import TITLES, Service

_QUESTION = "Say hello."


async def show(service: Service, screen: Screen, *, model: str, app_key: str) -> None:
    """Ask `service` and show its answer.

    Raises:
        Failure: it gave none.
    """
    screen.say(f"{TITLES[service.name]}: ", end="")
    try:
        async with _client(service, app_key) as client:
            completions = client.chat.completions
            started, first, chunks = time.monotonic(), 0.0, 0
            async for chunk in await completions.create(
                model=model, messages=[{"role": "user", "content": _QUESTION}], stream=True
            ):
                first = first or time.monotonic() - started
                chunks += 1
                screen.say(chunk.choices[0].delta.content or "" if chunk.choices else "", end="")
    except openai.OpenAIError as error:
        screen.say("")
        raise Failure(f"{service.name} did not answer the sample chat: {error}") from error
    took = time.monotonic() - started
    screen.say(f"\n  first of {chunks} chunks after {first * 1000:.0f} ms, the last after {took * 1000:.0f} ms")


def _client(service: Service, app_key: str) -> openai.AsyncOpenAI:
    # Not by way of a proxy that the environment may name: the service is on this machine.
    connections = openai.DefaultAsyncHttpxClient(trust_env=False)
    return openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=app_key, max_retries=0, http_client=connections)


def instructions(service: Service, *, model: str, app_key: str, admin_key: str) -> str:
    """What to paste to call `service`, and to manage the apps and keys of its store."""
    return f"""
{TITLES[service.name]}
  export OPENAI_BASE_URL={service.url}/v1
  export OPENAI_API_KEY={app_key}
  export TREFOIL_URL={service.url} TREFOIL_ADMIN_KEY={admin_key}  # for python -m core

  curl -N "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" \
-H "Content-Type: application/json" \
-d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{service.url}/v1", api_key="{app_key}")
  question = {{"role": "user", "content": "Hello"}}
  for chunk in client.chat.completions.create(model="{model}", messages=[question], stream=True):
      print(chunk.choices[0].delta.content or "", end="", flush=True)
"""
