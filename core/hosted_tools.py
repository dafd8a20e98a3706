"""The tools in a request that upstream runs itself: what they make it cost at most. Pure.

What each tool does: https://platform.openai.com/docs/guides/tools; what it costs: https://openai.com/api/pricing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

LOCAL = frozenset({"function", "custom", "namespace"})
"""Types of tools that the client runs, and that say all about themselves in the request."""

_INSTRUCTED = frozenset({"apply_patch", "computer", "computer_use", "computer_use_preview", "local_shell"})
"""Types of tools that the client runs, with instructions to the model that upstream adds."""

_WITHOUT_FEE = frozenset({"mcp", "tool_search"})

_UNITS: Mapping[str, int] = {"1g": 1, "4g": 4, "16g": 16, "64g": 64}
"""How many containers of the smallest size one of these costs: $0.03 for twenty minutes of 1 GB, $1.92 for 64 GB."""
_MOST_UNITS = max(_UNITS.values())


class HostedTools(NamedTuple):
    """What a list of tools comes to."""

    are_told_more: bool = False
    """Whether the model reads what is not in the request: instructions, or what a tool has found."""
    loop: bool = False
    """Whether upstream calls the model again with what a tool has found."""
    search_the_web: bool = False
    search_files: bool = False
    new_container_units: int = 0
    """What the containers cost that any call may start, counted in those of the smallest size."""
    container_units: int = 0
    """The same for containers that are there already: paid once."""
    unbounded: str | None = None
    """Where a tool stands whose cost is not known here: `tools[0]`."""


NONE = HostedTools()


def read(tools: Any) -> HostedTools:
    """What the value of a request's `tools` comes to."""
    if not isinstance(tools, list):
        return NONE
    found = NONE
    for number, tool in enumerate(tools):
        kinds = set(types(tool)) or {"function"}  # to some, it needs no type
        for kind in kinds - LOCAL:
            found = _joined(found, _of_type(kind, tool, f"tools[{number}]"))
        if len(kinds) > 1:
            found = _joined(found, HostedTools(unbounded=f"tools[{number}]"))
    return found


def types(item: Any) -> Iterator[str]:
    """What an object says it is, in whatever case the key is written."""
    if isinstance(item, dict):
        for key, kind in item.items():
            if len(key) == len("type") and key.casefold() == "type" and isinstance(kind, str):
                yield kind.casefold()


def units(memory_limit: Any) -> int:
    """What a container of that size costs, in containers of the smallest size."""
    if memory_limit is None:
        return 1
    return _UNITS.get(memory_limit, _MOST_UNITS) if isinstance(memory_limit, str) else _MOST_UNITS


def _of_type(kind: str, tool: Mapping[str, Any], place: str) -> HostedTools:
    if kind in _INSTRUCTED:
        return HostedTools(are_told_more=True)
    if kind in _WITHOUT_FEE:
        return HostedTools(are_told_more=True, loop=True)
    if kind.startswith("web_search"):
        return HostedTools(are_told_more=True, loop=True, search_the_web=True)
    if kind == "file_search":
        return HostedTools(are_told_more=True, loop=True, search_files=True)
    if kind == "code_interpreter":
        return _in_container(tool.get("container"))
    if kind == "shell":
        environment = tool.get("environment")
        if isinstance(environment, dict) and environment.get("type") == "local":
            return HostedTools(are_told_more=True)
        return _in_container(environment)
    # Among them is image_generation: another model's tokens, at another price than the request's own.
    return HostedTools(unbounded=place)


def _in_container(container: Any) -> HostedTools:
    if isinstance(container, str) or (isinstance(container, dict) and "container_id" in container):
        # Of what size it was made is not known here.
        return HostedTools(are_told_more=True, loop=True, container_units=_MOST_UNITS)
    memory_limit = container.get("memory_limit") if isinstance(container, dict) else None
    return HostedTools(are_told_more=True, loop=True, new_container_units=units(memory_limit))


def _joined(one: HostedTools, other: HostedTools) -> HostedTools:
    return HostedTools(
        are_told_more=one.are_told_more or other.are_told_more,
        loop=one.loop or other.loop,
        search_the_web=one.search_the_web or other.search_the_web,
        search_files=one.search_files or other.search_files,
        new_container_units=one.new_container_units + other.new_container_units,
        container_units=one.container_units + other.container_units,
        unbounded=one.unbounded or other.unbounded,
    )
