"""What a call used, in the units that it is paid by."""

from __future__ import annotations

from typing import NamedTuple


class Usage(NamedTuple):
    """What one call used, or can use at most. Nothing in it is negative."""

    input_tokens: int = 0
    """All of them, those in the next five included."""
    cached_input_tokens: int = 0
    """Read from a cache, of whatever modality."""
    cache_write_tokens: int = 0
    input_audio_tokens: int = 0
    cached_audio_tokens: int = 0
    """Counted among the cached and among the audio, too."""
    input_image_tokens: int = 0
    cached_image_tokens: int = 0
    """Counted among the cached and among the image, too."""
    output_tokens: int = 0
    """All of them, those in the next three included."""
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    images: int = 0
    """Made by a model that is paid by the image."""
    audio_milliseconds: int = 0
    """Of recorded speech that was listened to."""
    characters: int = 0
    """Of text that was spoken."""
    web_searches: int = 0
    file_searches: int = 0
    containers: int = 0
    """Started for code to run in."""
    service_tier: str | None = None
    """What upstream calls the tier that served the call, where it is not the default one: `flex`, `priority`."""

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def with_output(self, output_tokens: int) -> Usage:
        """The same with so many tokens of output."""
        return self._replace(output_tokens=output_tokens)
