"""The figures of `docs/tasks.md`, and what it says can be written; its examples are run in `test_tasks_clouds.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core import conversations, converse, summarize, task_input, task_settings
from core.settings import Settings
from core.summarize import Plan
from local.staging import REPOSITORY

_PAGE = (REPOSITORY / "docs" / "tasks.md").read_text("utf-8")
_CONTEXT_TOKENS = 128_000 - 4_096 - 2_000
"""Of gpt-4o-mini, less what an answer and the instructions take."""


def _rows(heading: str) -> dict[str, str]:
    """The table under a heading: what stands in its first column, and in its second."""
    table = _PAGE[_PAGE.index(heading) :].split("\n\n")[0]
    found: dict[str, str] = {}
    for line in table.splitlines()[2:]:
        names, text = line.strip("| ").split(" | ", 1)
        found |= dict.fromkeys(re.findall(r"`([a-z_]+)`", names), text)
    return found


def test_the_figures() -> None:
    kilobytes = summarize._PART_BYTES // 1000
    two_megabytes = ("Lorem ipsum dolor. " * 50 + "\n\n") * 2100
    assert Plan.of("x" * summarize._PART_BYTES, _CONTEXT_TOKENS).calls == 1
    for figure in (
        f"once for a text of up to {kilobytes} kB, {Plan.of(two_megabytes, _CONTEXT_TOKENS).calls} times for 2 MB, "
        f"{summarize._MOST_CALLS} times at most",
        f"{converse._MOST_TURNS_SHOWN} at most",
        f"{conversations.MOST_TURNS:,} turns",
        f"A message may have {converse._LONGEST_MESSAGE_BYTES // 1024} KiB; of an answer, "
        f"{converse._LONGEST_KEPT_BYTES // 1024} KiB are kept",
        f"would take more than {summarize._MOST_CALLS} calls",
        f"{task_settings.TasksSettings().conversation_days} by default",
        f"{task_settings.TasksSettings().max_output_tokens} by default",
        f"{task_settings.FieldSettings().max_length:,} by default",
        f"of a list; {task_settings.FieldSettings().max_items} by default",
    ):
        assert figure in _PAGE.replace("\n", " "), figure


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("| in `[tasks]` |", set(task_settings.TasksSettings.defaults()) - {"built_in", "own"}),
        ("| in `[tasks.generate]`", set(task_settings.BuiltInSettings.defaults())),
        ("| in `[tasks.NAME]`", set(task_settings.OwnTaskSettings.defaults())),
        ("| of an input field |", set(task_settings.FieldSettings.defaults())),
    ],
)
def test_all_that_can_be_written_is_there(heading: str, expected: set[str]) -> None:
    assert set(_rows(heading)) == expected


def test_all_parameters_and_inputs_are_there() -> None:
    assert set(re.findall(r"`([a-z_]+)`", _rows("| in `[tasks.NAME]`")["parameters"])) == task_settings.PARAMETERS
    for task, schema in task_input.BUILT_IN.items():
        (row,) = re.findall(rf"^\| `{task}` \|[^|]*\|([^|]*)\|", _PAGE, re.MULTILINE)
        fields = {field.alias or name for name, field in schema.model_fields.items()}
        assert set(re.findall(r"`(\w+)`", row)) == fields - task_settings.CONTROLS


def test_the_two_tasks_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "trefoil.toml"
    file.write_text("\n".join(re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)), "utf-8")
    settings = Settings.load({"OPENAI_API_KEY": "sk-1", "TREFOIL_CONFIG": str(file)}).tasks
    assert isinstance(settings, task_settings.TasksSettings)
    assert set(settings.own) == {"classify_mail", "extract_invoice"}
