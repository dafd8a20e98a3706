"""Who is calling: an app key in the request's headers -> the app's record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from core import app_keys, errors
from core.ports import App, AppKey, Store, StoreError

_MOST_CACHED = 10_000


class Authenticator:
    """Finds the app behind a key.

    What the store answered is trusted for `cache_seconds`: so long may a key go on working after it was disabled.
    """

    def __init__(
        self,
        store: Store,
        *,
        cache_seconds: float,
        opens_without_store: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            opens_without_store: whether an app without a budget that was known before is let in while the store does
                not answer, however long ago that was.
        """
        self._store = store
        self._opens_without_store = opens_without_store
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._cache: dict[str, tuple[float, AppKey, App]] = {}

    async def identify(self, headers: Mapping[str, str]) -> App:
        """The app whose key the request carries.

        Raises:
            NotAuthenticated: no key, or one that is unknown, disabled or expired, or whose app is.
            StoreError: the store could not be asked.
        """
        key = _presented_key(headers)
        if key is None:
            raise errors.NotAuthenticated(
                "You didn't provide an API key. Send the app key that this service's operator gave you as "
                "'Authorization: Bearer tfl_...'.",
                code="missing_api_key",
            )
        record, app = await self._look_up(key)
        if not (record.enabled and app.enabled):
            raise errors.NotAuthenticated("This API key has been disabled.")
        if record.expires_at is not None and record.expires_at <= self._clock():
            raise errors.NotAuthenticated("This API key has expired.")
        return app

    async def _look_up(self, key: str) -> tuple[AppKey, App]:
        if not key.isascii():
            raise _incorrect()
        digest, now = app_keys.digest(key), self._clock()
        cached = self._cache.get(digest)
        if cached is not None and cached[0] > now:
            return cached[1:]
        if not app_keys.is_well_formed(key):
            raise _incorrect()
        try:
            found = await self._fetch(digest)
        except StoreError:
            if cached is None or not self._opens_without_store or cached[2].limits.has_budget:
                raise
            return cached[1:]
        if len(self._cache) >= _MOST_CACHED:
            self._cache.clear()
        self._cache[digest] = (now + self._cache_seconds, *found)
        return found

    async def _fetch(self, digest: str) -> tuple[AppKey, App]:
        found = await self._store.get(AppKey.key(digest))
        if found is None:
            raise _incorrect()
        record = AppKey.model_validate(found)
        app = await self._store.get(App.key(record.app_id))
        if app is None:
            raise _incorrect()
        return record, App.model_validate(app)


def _presented_key(headers: Mapping[str, str]) -> str | None:
    """The key as OpenAI's clients send it, or as Azure OpenAI's and Anthropic's do."""
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return headers.get("api-key") or headers.get("x-api-key") or None


def _incorrect() -> errors.NotAuthenticated:
    return errors.NotAuthenticated("Incorrect API key provided.")
