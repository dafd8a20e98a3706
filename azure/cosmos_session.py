"""How far this process has seen a container's partitions go, so that it never reads what it knows to be outdated."""

from __future__ import annotations


class Session:
    """The session tokens of a container (https://learn.microsoft.com/azure/cosmos-db/consistency-levels#session).

    A token is a list of `<partition>:<progress>` with commas; a progress is `<version>#<number>#<more>`, or a number.
    """

    def __init__(self) -> None:
        self._progress: dict[str, str] = {}

    def note(self, token: str) -> None:
        """Take over what an answer says, which may come later than the answer to a later request."""
        for part in filter(None, token.split(",")):
            partition, _, progress = part.partition(":")
            if _order(progress) >= _order(self._progress.get(partition, "")):
                self._progress[partition] = progress

    @property
    def token(self) -> str:
        """What a read has to show; empty before the first answer."""
        return ",".join(f"{partition}:{progress}" for partition, progress in self._progress.items())


def _order(progress: str) -> tuple[int, ...]:
    numbers = progress.split("#")[:2]
    try:
        return tuple(int(number) for number in numbers)
    except ValueError:  # a kind that is not known here: the last one that came counts
        return ()
