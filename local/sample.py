"""One streamed chat through a cloud, with the stock OpenAI client, shown as it arrives."""

from __future__ import annotations

import time

import openai

from local.failure import Failure
from local.services import TITLES, Service

_QUESTION = "Say hello."


async def show(service: Service, *, model: str, app_key: str) -> None:
    """Ask `service` and print its answer.

    Raises:
        Failure: it gave none.
    """
    print(f"{TITLES[service.name]}: ", end="", flush=True)
    try:
        async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=app_key, max_retries=0) as client:
            completions = client.chat.completions
            started, first, chunks = time.monotonic(), 0.0, 0
            async for chunk in await completions.create(
                model=model, messages=[{"role": "user", "content": _QUESTION}], stream=True
            ):
                first = first or time.monotonic() - started
                chunks += 1
                print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
    except openai.OpenAIError as error:
        print()
        raise Failure(f"{service.name} did not answer the sample chat: {error}") from error
    took = time.monotonic() - started
    print(f"\n  first of {chunks} chunks after {first * 1000:.0f} ms, the last after {took * 1000:.0f} ms")


def instructions(service: Service, *, model: str, app_key: str) -> str:
    """What to paste to call `service`."""
    return f"""
{TITLES[service.name]}
  export OPENAI_BASE_URL={service.url}/v1
  export OPENAI_API_KEY={app_key}

  curl -N "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" \
-H "Content-Type: application/json" \
-d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{service.url}/v1", api_key="{app_key}")
  question = {{"role": "user", "content": "Hello"}}
  for chunk in client.chat.completions.create(model="{model}", messages=[question], stream=True):
      print(chunk.choices[0].delta.content or "", end="", flush=True)
"""
