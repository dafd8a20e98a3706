"""docs/clients.md: each of its snippets is pasted as it stands, and does at a cloud what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from core import command_line
from core.settings import Settings
from local.running import free_port_base
from local.services import CLOUDS
from local.staging import REPOSITORY
from local_deployment import LocalDeployment
from log_watch import leaks_in, service_lines

pytestmark = pytest.mark.slow

_PAGE = (REPOSITORY / "docs" / "clients.md").read_text("utf-8")
_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>.+?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```\n(?:\n```text\n(?P<output>.*?)```)?",
    re.DOTALL,
)
_PAGE_PORT = "8000"
_BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
_EXPORTS = _PAGE.partition("```sh\n")[2].partition("```")[0]
_JSON = "application/json"
_QUOTA = {"error": {"message": "Spent.", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}}


@dataclass(frozen=True, slots=True)
class _Snippet:
    section: str
    name: str
    text: str
    output: str
    cloud: str

    @property
    def command(self) -> str:
        if self.name.endswith(".py"):
            return f"python {self.name}"
        return f"node {self.name}" if self.name.endswith(".mjs") else self.text


def _sections() -> Mapping[str, str]:
    return {part.partition("\n")[0]: part for part in _PAGE.split("\n## ")}


def _snippets() -> Iterator[_Snippet]:
    for section, text in _sections().items():
        for block in _BLOCK.finditer(text):
            kind, _, name = (block["mark"] or "").partition(": ")
            if kind == "run":
                output = block["output"] or ""
                yield _Snippet(section, name, block["text"], output, CLOUDS[len(name) % len(CLOUDS)])


def _files() -> Mapping[str, str]:
    marked = {block["mark"]: block["text"] for block in _BLOCK.finditer(_PAGE) if block["mark"]}
    names = {mark: mark.partition(": ")[2] for mark in marked}
    return {names[mark]: text for mark, text in marked.items() if names[mark].endswith((".mjs", ".html", ".py"))}


_SNIPPETS = {snippet.name: snippet for snippet in _snippets()}
_APPS = {"shop-page": "A browser front end", "partner-acme": "A partner's system"}
_APP_OF = {section: app for app, section in _APPS.items()} | {"What all clients meet": "partner-acme"}


@dataclass(frozen=True, slots=True)
class _Place:
    """The clouds with the page's apps, and a folder with its files."""

    folder: Path
    deployment: LocalDeployment
    page_port: str
    keys: Mapping[str, str]

    def url(self, cloud: str) -> str:
        return self.deployment.base_urls[cloud].removesuffix("/v1")

    def run(self, snippet: _Snippet) -> str:
        ended = self.bash(snippet.command, self.url(snippet.cloud), self.keys[_app_of(snippet)])
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    def bash(self, command: str, url: str, key: str) -> subprocess.CompletedProcess[str]:
        for program in ("curl", "jq", "node"):
            if re.search(rf"\b{program} ", command) and shutil.which(program) is None:
                pytest.skip(f"needs {program}, from your system's package manager")
        exports = _EXPORTS.replace("http://127.0.0.1:8701", url).replace("tfl_...", key)
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail\n{exports}{command}"],
            cwd=self.folder,
            env=_environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def node(self, script: str, url: str, key: str = "") -> Any:
        """What an ES module in the page's folder prints, which is JSON."""
        (self.folder / "test.mjs").write_text(script, "utf-8")
        ended = self.bash("node test.mjs", url, key)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


def _environ() -> Mapping[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}


def _app_of(snippet: _Snippet) -> str:
    return _APP_OF.get(snippet.section, "customer-service")


def _is(printed: str, expected: str) -> bool:
    """Whether it is what the page shows, in which `...` stands for anything."""
    pattern = ".*".join(map(re.escape, expected.rstrip().split("...")))
    return re.fullmatch(pattern, printed.replace("\r", "").rstrip(), re.DOTALL) is not None


def _operate(section: str, url: str, admin_key: str, page_port: str) -> Iterator[tuple[str, str]]:
    """What each of a section's commands prints, and what the page says of it."""
    for block in re.findall(r"```console\n(.*?)```", _sections()[section], re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            ended = subprocess.run(
                ["bash", "-c", command.replace(_PAGE_PORT, page_port)],
                env={**_environ(), "TREFOIL_URL": url, "TREFOIL_ADMIN_KEY": admin_key},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=True,
            )
            yield ended.stdout, output


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Place]:
    folder, page_port = tmp_path_factory.mktemp("clients"), str(free_port_base(8) + 7)  # the clouds take 7
    for name, text in _files().items():
        (folder / name).write_text(text, "utf-8")
    [toml] = re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)
    config = folder / "trefoil.toml"
    config.write_text(f"[upstreams.openai]\n{toml.replace(_PAGE_PORT, page_port)}", "utf-8")
    keys = dict[str, str]()
    with LocalDeployment.started(folder, environ={"TREFOIL_CONFIG": str(config)}) as deployment:
        for section, base_url in zip([*_sections()][2:], deployment.base_urls.values(), strict=True):
            url = base_url.removesuffix("/v1")
            for printed, expected in _operate(section, url, deployment.admin_key, page_port):
                assert _is(printed, expected.replace(_PAGE_PORT, page_port)), printed
                if made := re.search(r"tfl_\w+", printed):
                    keys[_APP_OF.get(section, "customer-service")] = made[0]
        yield _Place(folder, deployment, page_port, keys)
    assert leaks_in(service_lines(deployment.log)) == []


@pytest.mark.parametrize("name", [name for name in _SNIPPETS if name != "usage"])
def test_a_snippet_prints_what_the_page_says(name: str, place: _Place) -> None:
    printed = place.run(_SNIPPETS[name])
    assert _is(printed, _SNIPPETS[name].output), printed
    if name == "image":
        assert (place.folder / "umbrella.png").read_bytes().startswith(b"\x89PNG")


def test_the_usage_is_that_of_the_partner_s_snippets(place: _Place) -> None:
    for name in ("partner-curl", "partner.py", "partner-curl"):  # again: under their keys they are paid for once
        place.run(_SNIPPETS[name])
    printed = place.run(_SNIPPETS["usage"])
    assert _is(printed, _SNIPPETS["usage"].output), printed


def test_every_block_of_the_page_is_run() -> None:
    assert {snippet.cloud for snippet in _SNIPPETS.values()} == set(CLOUDS)
    unmarked = [block["language"] for block in _BLOCK.finditer(_PAGE) if not block["mark"]]
    assert sorted(unmarked) == ["console", "console", "console", "sh", "toml"]
    assert len(_SNIPPETS) >= 9


class TestStreamsInJavaScript:
    """trefoil.mjs"""

    def test_chunks_may_be_cut_anywhere(self, place: _Place) -> None:
        script = r"""
          import { stream } from "./trefoil.mjs";
          const sent = ': a comment\r\n\r\ndata: {"type": "delta", "text": "漢🍀"}\r\n\r\n' +
            'event: x\ndata: {"type":\ndata: "delta", "text": "b"}\n\n' +
            'data: {"type": "done"}\n\ndata: {"type": "never"}\n\n';
          const bytes = new TextEncoder().encode(sent);
          const told = new Set();
          for (let size = 1; size <= bytes.length; size++) {
            let at = 0;
            globalThis.fetch = async () => new Response(new ReadableStream({
              pull(to) { at < bytes.length ? to.enqueue(bytes.slice(at, (at += size))) : to.close(); },
            }));
            const events = [];
            for await (const event of stream("", "", {})) events.push(event);
            told.add(JSON.stringify(events));
          }
          console.log(JSON.stringify([...told].map((one) => JSON.parse(one))));
        """
        events = [{"type": "delta", "text": "漢🍀"}, {"type": "delta", "text": "b"}, {"type": "done"}]
        assert place.node(script, "") == [events]

    def test_an_end_without_its_last_event_is_an_error(self, place: _Place) -> None:
        script = """
          import { stream } from "./trefoil.mjs";
          globalThis.fetch = async () => new Response('data: {"type": "delta"}\\n\\ndata: {"type": "do');
          const told = [];
          try { for await (const event of stream("", "", {})) told.push(event.type); }
          catch (error) { told.push(error.name, error.message); }
          console.log(JSON.stringify(told));
        """
        assert place.node(script, "") == ["delta", "Error", "The answer was cut off."]

    @pytest.mark.parametrize("cloud", CLOUDS)
    def test_it_tells_what_went_wrong(self, cloud: str, place: _Place) -> None:
        script = """
          import { stream } from "./trefoil.mjs";
          const { TREFOIL_URL, TREFOIL_KEY } = process.env;
          async function tell(path, body, key = TREFOIL_KEY) {
            let events = 0;
            try { for await (const event of stream(TREFOIL_URL + path, key, body)) events += 1; }
            catch ({ status, code, retryAfterSeconds }) { return [events > 0, status, code, retryAfterSeconds]; }
            return [events > 0];
          }
          const text = "x", messages = [{ role: "user", content: text }];
          console.log(JSON.stringify([
            await tell("/v1/chat/completions", { messages, model: "offline;pace=0" }),
            await tell("/v1/chat/completions", { messages, model: "offline;pace=0;cut=3" }),
            await tell("/tasks/complete", { text, model: "offline;pace=0;cut=3" }),
            await tell("/tasks/complete", { text, model: "offline;status=429;retry-after=7" }),
            await tell("/tasks/complete", {}),
            await tell("/tasks/complete", { text }, "wrong"),
          ]));
        """
        assert place.node(script, place.url(cloud), place.deployment.app_key) == [
            [True],
            [True, 200, "upstream_cut_off", None],
            [True, 200, "upstream_cut_off", None],
            [False, 429, "rate_limit_exceeded", 7],
            [False, 400, "missing_required_parameter", None],
            [False, 401, "invalid_api_key", None],
        ]

    @pytest.mark.parametrize("cloud", [cloud for cloud in CLOUDS if cloud != "aws"])
    @pytest.mark.parametrize("way", ["break", "asking.abort()"])
    def test_who_leaves_ends_the_call(self, cloud: str, way: str, place: _Place) -> None:
        before = _left(place, cloud)
        script = f"""
          import {{ stream }} from "./trefoil.mjs";
          const asking = new AbortController();
          const {{ TREFOIL_URL, TREFOIL_KEY }} = process.env;
          const body = {{ text: "x", model: "offline;hang=3" }};
          const events = stream(TREFOIL_URL + "/tasks/complete", TREFOIL_KEY, body, asking.signal);
          try {{ for await (const event of events) {way}; console.log('"left"'); }}
          catch (error) {{ console.log(JSON.stringify(error.name)); }}
        """
        told = place.node(script, place.url(cloud), place.deployment.app_key)
        assert told == ("left" if way == "break" else "AbortError")
        _wait_until(lambda: _left(place, cloud) > before)


def _left(place: _Place, cloud: str) -> int:
    lines = place.deployment.log.read_text("utf-8").splitlines()
    return len([line for line in lines if line.startswith(cloud) and '"client_left"' in line])


def _wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


class TestThePage:
    @pytest.mark.parametrize("cloud", CLOUDS)
    def test_its_conversation_before_and_with_a_call(self, cloud: str, place: _Place) -> None:
        url, page = f"{place.url(cloud)}/tasks/summarize", "https://shop.example"
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        wrong = {"authorization": "Bearer wrong", "origin": page}
        given = {"authorization": f"Bearer {place.keys['shop-page']}", "origin": page}
        other_url = f"{place.url(cloud)}/v1/embeddings"
        with httpx2.Client() as client:
            said = client.options(url, headers={"origin": page, **asked})
            assert (said.status_code, said.content, said.headers["access-control-allow-origin"]) == (204, b"", page)
            other = client.options(url, headers={"origin": "https://other.example", **asked})
            assert [name for name in other.headers if name.startswith("access-control-")] == []
            answers = [
                client.post(url, json={"text": "x"}, headers=given),
                client.post(url, json={}, headers=given),
                client.post(url, json={"text": "x"}, headers=wrong),
                client.post(other_url, json={"model": "m", "input": ""}, headers=given),
            ]
        assert [answer.status_code for answer in answers] == [200, 400, 401, 403]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == page
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"retry-after", "x-should-retry", "x-request-id"} <= set(exposed)

    def test_its_script(self, place: _Place) -> None:
        """In Node.js, with as much of a page around it as it needs."""
        page = _filled(place, "azure")
        script = page.partition('<script type="module">')[2].partition("</script>")[0]
        driver = """
          const found = { output: { textContent: "" }, form: { elements: { text: { value: "It rained." } } } };
          found.form.addEventListener = (_, act) => (found.form.submit = act);
          globalThis.document = { querySelector: (name) => found[name] };
          let leave;
          globalThis.addEventListener = (_, act) => (leave = act);
          const real = fetch;
          const error = (status, type, headers) => async () =>
            new Response(JSON.stringify({ error: { message: "m", type, code: "c" } }), { status, headers });
          async function submit(fetching) {
            globalThis.fetch = fetching;
            await form.submit({ preventDefault() {} });
            return output.textContent;
          }
        """
        finish = """
          const told = [
            await submit(real),
            await submit(error(429, "insufficient_quota", { "retry-after": "9000" })),
            await submit(error(429, "requests", { "retry-after": "7" })),
            await submit(async () => { throw new TypeError("blocked"); }),
            await submit(async () => new Response('data: {"type": "delta", "text": "half"}\\n\\n')),
          ];
          const left = submit((_, { signal }) => new Promise((_, fail) => {
            signal.addEventListener("abort", () => fail(signal.reason));
          }));
          leave();
          told.push(await left);
          console.log(JSON.stringify(told));
        """
        imports, rest = re.match(r"\s*(import .*?;)\n(.*)", script, re.DOTALL).groups()  # type: ignore[union-attr]
        told = place.node(f"{imports}\n{driver}\n{rest}\n{finish}", "")
        assert told[0].startswith("This is a canned answer")
        assert told[0].endswith("🍀)")
        assert told[1:] == [
            " There are no more summaries today.",
            " There is much to do: please try again in 7 seconds.",
            " That did not work: please try again.",
            "half That did not work: please try again.",
            "",
        ]

    @pytest.mark.parametrize("cloud", CLOUDS)
    def test_in_a_browser(self, cloud: str, place: _Place, tmp_path: Path) -> None:
        browser = next((path for path in map(shutil.which, _BROWSERS) if path), None)
        if browser is None:
            pytest.skip(f"needs one of {', '.join(_BROWSERS)}, from your system's package manager")
        (place.folder / "visit.html").write_text(
            """<iframe src="index.html"></iframe><script>
              const [frame] = document.getElementsByTagName("iframe");
              frame.onload = () => {
                const page = frame.contentDocument;
                page.querySelector("textarea").value = "It rained.";
                page.querySelector("button").click();
                setInterval(() => {
                  const text = page.querySelector("output").textContent;
                  if (/\\)$|again\\.$|seconds\\.$/.test(text)) fetch("/told?" + encodeURIComponent(text));
                }, 100);
              };</script>""",
            "utf-8",
        )
        with _serving(place, cloud) as lines:
            visit = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
            address = f"http://127.0.0.1:{place.page_port}/visit.html"
            visiting = subprocess.Popen(
                [*visit, "--remote-debugging-port=0", address],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # what is called a browser may be a script that starts it
            )
            try:
                told = next((line for line in lines if "/told?" in line), "")
            finally:
                os.killpg(visiting.pid, signal.SIGKILL)
                visiting.wait()
        assert "/told?This%20is%20a%20canned%20answer" in told
        assert "%F0%9F%8D%80" in told


def _filled(place: _Place, cloud: str) -> str:
    """index.html, as the page's commands make it."""
    sed, _ = _marked("serve").splitlines()
    ended = place.bash(sed, place.url(cloud), place.keys["shop-page"])
    assert (ended.returncode, ended.stderr) == (0, "")
    return (place.folder / "index.html").read_text("utf-8")


def _marked(mark: str) -> str:
    [text] = [block["text"] for block in _BLOCK.finditer(_PAGE) if block["mark"] == mark]
    return text


@contextmanager
def _serving(place: _Place, cloud: str) -> Iterator[Iterator[str]]:
    """The page, served by its own command; yields the lines of its log, for a minute."""
    page = _filled(place, cloud)
    assert place.keys["shop-page"] in page
    assert "%TREFOIL" not in page
    _, serve = _marked("serve").replace(_PAGE_PORT, place.page_port).splitlines()
    serving = subprocess.Popen(
        ["bash", "-c", f"exec {serve}"],
        cwd=place.folder,
        env=_environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert serving.stdout is not None
    patience = threading.Timer(60, serving.kill)
    patience.start()
    try:
        assert serving.stdout.readline().startswith("Serving HTTP")
        yield iter(serving.stdout)
    finally:
        patience.cancel()
        serving.kill()
        serving.wait()
        serving.stdout.close()


@dataclass(frozen=True, slots=True)
class _Said:
    status: int
    """0: the connection is closed without an answer."""
    headers: Mapping[str, str]
    body: Mapping[str, Any]


@contextmanager
def _saying(answers: Sequence[_Said]) -> Iterator[tuple[str, list[Mapping[str, str]]]]:
    """A server that gives these answers in their order, and the headers of the requests that it got."""
    asked: list[Mapping[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            answer = answers[min(len(asked), len(answers) - 1)]
            asked.append({name.lower(): value for name, value in self.headers.items()})
            if answer.status == 0:
                self.close_connection = True
                return
            content = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {**answer.headers, "content-type": _JSON, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


_DONE = _Said(200, {}, {"finish_reason": "stop", "output": {}})
_SPENT = _Said(429, {"retry-after": "21441", "x-should-retry": "false"}, _QUOTA)


class TestWhatIsTriedAgain:
    def test_the_partner_s_python(self, place: _Place) -> None:
        now = {"retry-after": "0"}
        troubles = [_Said(0, {}, {}), _Said(503, now, {}), _Said(409, now, {}), _Said(429, now, {})]
        with _saying([*troubles, _DONE]) as (url, asked):
            ended = place.bash("python partner.py", url, "tfl_1")
        assert (ended.returncode, ended.stdout) == (0, "stop {}\nthe same answer: True\n")
        assert len(asked) == len(troubles) + 2
        assert {headers["idempotency-key"] for headers in asked} == {"mail-4711"}

    @pytest.mark.parametrize("refusal", [_SPENT, _Said(400, {}, {}), _Said(401, {}, {})])
    def test_the_partner_s_python_gives_up_where_waiting_does_not_help(self, refusal: _Said, place: _Place) -> None:
        with _saying([refusal]) as (url, asked):
            ended = place.bash("python partner.py", url, "tfl_1")
        assert ended.returncode == 1
        assert f"RuntimeError: HTTP {refusal.status}: {json.dumps(refusal.body)}" in ended.stderr
        assert len(asked) == 1

    @pytest.mark.parametrize(("refusal", "tries"), [(_SPENT, 1), (_Said(400, {}, _QUOTA), 1), (_Said(503, {}, {}), 2)])
    def test_the_partner_s_curl(self, refusal: _Said, tries: int, place: _Place) -> None:
        with _saying([refusal, _DONE]) as (url, asked):
            ended = place.bash(_SNIPPETS["partner-curl"].text, url, "tfl_1")
        assert len(asked) == tries
        assert (ended.returncode == 0) == (tries == 2)

    def test_the_department_s_python(self, place: _Place) -> None:
        with _saying([_SPENT]) as (url, asked):
            ended = place.bash("python chat.py", url, "tfl_1")
        assert (ended.returncode, ended.stderr) == (1, "the budget is spent\n")
        assert len(asked) == 1
        (place.folder / "cut.py").write_text(
            _files()["chat.py"].replace("gpt-4o-mini", "offline;pace=0;cut=3"), "utf-8"
        )
        ended = place.bash("python cut.py", place.url("gcp"), place.deployment.app_key)
        assert ended.returncode == 1
        assert ended.stdout
        assert ended.stderr.startswith("no answer, or not all of it: The model's service broke off its answer.")


def test_the_page_s_numbers_are_the_code_s(tmp_path: Path) -> None:
    file = tmp_path / "trefoil.toml"
    file.write_text("[upstreams.openai]\n")
    settings = Settings.load({"OPENAI_API_KEY": "sk-1", "TREFOIL_CONFIG": str(file)})
    assert settings.retry.max_retries + 1 == 3
    assert "already tried up to three times" in _PAGE
    assert command_line.parse(["key", "new", "--app", "a", "--days", "9"])
    deploying = (REPOSITORY / "docs" / "deploy.md").read_text("utf-8")
    assert "| of this deployment (`timeout_seconds`, 30 to 900) | 600 s | 600 s | 600 s |" in deploying
    assert "after 600 s" in _PAGE


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", _PAGE)
    assert len(links) > 8
    for file, heading in links:
        page = (REPOSITORY / "docs" / (file or "clients.md")).read_text("utf-8")
        headings = re.findall(r"^#+ (.*)", page, re.MULTILINE)
        known = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
        assert not heading or heading in known, (file, heading)
