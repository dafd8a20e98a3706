"""The test suite of OpenAI's own client for Python: it comes with the source distribution of the `openai` package, and
is fetched from there, at the installed version; nothing of it is part of this project.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import openai_suite_plugin
from core.endpoints import ENDPOINTS
from local.staging import REPOSITORY
from missing import Missing

_NEEDED = ("aiohttp>=3.14.4,<4", "pytest-asyncio>=1.4,<2")
"""What the suite uses beside what this project's own tests use."""
_TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test."""

    status: str
    """`passed`, `failed` or `skipped`."""
    message: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"


@dataclass(frozen=True, slots=True)
class OpenAISuite:
    """An unpacked suite, and where the packages lie that it needs beside."""

    source: Path
    packages: Path

    @classmethod
    def installed(cls) -> OpenAISuite:
        """
        Raises:
            Missing: it was not fetched yet, or for another version of `openai`.
        """
        suite = cls._here()
        if not suite._stamp.exists():
            raise Missing(f"the suite of openai {_version()} is not there: run 'make suite'")
        return suite

    @classmethod
    def install(cls) -> OpenAISuite:
        """Fetch it, unless it is there.

        Raises:
            Missing: no package index has it.
        """
        suite = cls._here()
        if not suite._stamp.exists():
            shutil.rmtree(suite.source.parent, ignore_errors=True)
            suite.source.parent.mkdir(parents=True)
            _pip("install", "--target", str(suite.packages), *_NEEDED)
            _pip("download", "--no-deps", "--no-binary", "openai", "--dest", str(suite.source.parent), _requirement())
            with tarfile.open(suite.source.with_name(f"{suite.source.name}.tar.gz")) as archive:
                archive.extractall(suite.source.parent, filter="data")
            suite._stamp.touch()
        return suite

    @classmethod
    def _here(cls) -> OpenAISuite:
        folder = REPOSITORY / ".trefoil" / "openai-suite" / _version()
        return cls(source=folder / f"openai-{_version()}", packages=folder / "packages")

    @property
    def _stamp(self) -> Path:
        return self.source.parent / "installed.stamp"

    def files(self) -> list[str]:
        """The files with the tests of what is offered: `chat.completions.create` is tested in
        `chat/test_completions.py`, or, if it has a file of its own, in `chat/completions/test_create.py`.
        """
        resources = dict.fromkeys(
            name for row in ENDPOINTS if not row.public for name in (row.name.rpartition(".")[0], row.name)
        )
        paths = (f"tests/api_resources/{_test_file(name)}" for name in resources)
        return [path for path in paths if (self.source / path).is_file()]

    def run(
        self, base_url: str, report: Path, *, key: str | None = None, recorder: str | None = None, only: str = ""
    ) -> Mapping[str, Outcome]:
        """Run it against `base_url`; what became of each test, by its name.

        Args:
            key: the key that its clients use instead of the suite's own.
            recorder: the address of the recording proxy that is to be told which test runs.
            only: an expression as pytest's `-k` takes it, that says which tests to run.
        """
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTEST_"))},
            "TEST_API_BASE_URL": base_url,
            "PYTHONPATH": os.pathsep.join([str(self.packages), str(Path(openai_suite_plugin.__file__).parent)]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        given = {openai_suite_plugin.KEY_VARIABLE: key, openai_suite_plugin.RECORDER_VARIABLE: recorder}
        environ |= {name: value for name, value in given.items() if value is not None}
        plugins = [
            "-p",
            "pytest_asyncio.plugin",
            "-p",
            "openai_suite_plugin",
            "-p",
            "no:logging",
            "-p",
            "no:cacheprovider",
        ]
        options = ["--override-ini", "addopts=", "--assert=plain", "--quiet", "--tb=line", f"--junitxml={report}"]
        result = subprocess.run(  # noqa: PLW1510 - its report says more than its exit code
            [sys.executable, "-m", "pytest", *plugins, *options, "-k", only, *self.files()],
            cwd=self.source,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
        if result.returncode not in (0, 1):
            raise AssertionError(f"OpenAI's suite did not run:\n{result.stdout[-3000:]}")
        return _outcomes(report)


def _version() -> str:
    return importlib.metadata.version("openai")


def _requirement() -> str:
    return f"openai=={_version()}"


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--retries", "1", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)  # noqa: PLW1510
    if result.returncode != 0:
        raise Missing(f"pip could not fetch what OpenAI's suite needs: {result.stderr.strip().rpartition(chr(10))[2]}")


def _test_file(resource: str) -> str:
    folder, _, name = resource.replace(".", "/").rpartition("/")
    return f"{folder}/test_{name}.py".lstrip("/")


def _outcomes(report: Path) -> Mapping[str, Outcome]:
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        module, _, class_name = case.attrib["classname"].rpartition(".")
        name = f"{module.replace('.', '/')}.py::{class_name}::{case.attrib['name']}"
        outcomes[name] = _outcome(case)
    return outcomes


def _outcome(case: ElementTree.Element) -> Outcome:
    for kind, status in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        if (found := case.find(kind)) is not None:
            return Outcome(status, re.sub(r"\s+", " ", found.get("message", ""))[:400])
    return Outcome("passed")
