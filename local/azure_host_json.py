"""An app's `host.json`: its settings for the Azure Functions host."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from local.azure_worker import CannotHost

_DEFAULT_TIMEOUT_SECONDS = 30 * 60.0  # of a function on the Flex Consumption plan


@dataclass(frozen=True)
class HostJson:
    """What this host obeys of it."""

    route_prefix: str = "api"
    timeout_seconds: float = _DEFAULT_TIMEOUT_SECONDS

    @classmethod
    def read(cls, app_dir: Path) -> HostJson:
        """
        Raises:
            CannotHost: the file is missing or wrong.
        """
        try:
            content = json.loads((app_dir / "host.json").read_text("utf-8"))
            prefix = content.get("extensions", {}).get("http", {}).get("routePrefix", cls.route_prefix)
            timeout = content.get("functionTimeout")
            return cls(str(prefix), _DEFAULT_TIMEOUT_SECONDS if timeout is None else _seconds(timeout))
        except OSError as error:
            raise CannotHost(f"{app_dir / 'host.json'}: {error.strerror}") from None
        except (ValueError, AttributeError) as error:
            raise CannotHost(f"{app_dir / 'host.json'}: {error}") from None


def _seconds(span: str) -> float:
    """`hh:mm:ss` in seconds; `-1`, which means without end, as infinity."""
    if span == "-1":
        return float("inf")
    hours, minutes, seconds = map(int, span.split(":"))
    return hours * 3600.0 + minutes * 60 + seconds
