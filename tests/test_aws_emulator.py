"""The function URL on this machine, with real processes and sockets; the order of events by handshake."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from http.client import HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any

import pytest

from aws_emulator_process import ROOT, Emulator, Gate, emulator, stage_sample
from local.function_url import _open_stream
from local.runtime_api import Answer, SandboxError

LIMIT_BYTES = 6 * 1024 * 1024


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("aws")
    with emulator(stage_sample(folder / "task"), folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def buffered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    pytest.importorskip("awslambdaric")
    folder = tmp_path_factory.mktemp("buffered")
    with emulator(stage_sample(folder / "task"), folder / "log", "--buffered") as running:
        yield running


@pytest.fixture(scope="module")
def rest_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("rest_api")
    with emulator(stage_sample(folder / "task"), folder / "log", "--rest-api") as running:
        yield running


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as gate:
        yield gate


def echo(aws: Emulator, target: str = "/echo", body: bytes = b"", **headers: str) -> dict[str, Any]:
    status, answer = aws.ask(target, body, **headers)
    assert status == 200, answer
    event: dict[str, Any] = json.loads(answer)
    return event


def test_a_request_becomes_an_event(aws: Emulator) -> None:
    # Header names in any case, one twice, cookies apart: written by hand, since clients do not.
    with socket.create_connection(("127.0.0.1", aws.port), timeout=20) as connection:
        connection.sendall(
            b"PUT /echo?a=1&a=2&b=%20x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-One: 1\r\nx-one: \xe9\r\n"
            b"Cookie: a=b; c=d\r\nUser-Agent: test\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n"
            b'"\xc3\xa9"'
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    event = json.loads(answer.partition(b"\r\n\r\n")[2].split(b"\r\n")[1])

    context = event["requestContext"]
    forwarded = {"x-forwarded-for": "127.0.0.1", "x-forwarded-port": str(aws.port), "x-forwarded-proto": "http"}
    assert event == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/echo",
        "rawQueryString": "a=1&a=2&b=%20x",
        "cookies": ["a=b", "c=d"],
        "headers": {
            "host": "localhost",
            "connection": "close",
            "x-one": "1,é",
            "user-agent": "test",
            "content-type": "application/json",
            "content-length": "4",
            **forwarded,
        },
        "queryStringParameters": {"a": "1,2", "b": " x"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "localhost",
            "domainName": "localhost",
            "domainPrefix": "localhost",
            "http": {
                "method": "PUT",
                "path": "/echo",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "test",
            },
            "requestId": context["requestId"],
            "routeKey": "$default",
            "stage": "$default",
            "time": context["time"],
            "timeEpoch": context["timeEpoch"],
        },
        "body": '"é"',
        "isBase64Encoded": False,
    }
    assert f"x-amzn-requestid: {context['requestId']}".encode() in answer


@pytest.mark.parametrize(
    ("content_type", "body", "is_base64"),
    [
        ("text/plain; charset=utf-8", "é".encode(), False),
        ("application/octet-stream", b"plain", True),
        ("multipart/form-data; boundary=x", b"--x", True),
        ("application/json", b'{"a": "\xff"}', True),
    ],
)
def test_bodies_that_json_cannot_hold_are_base64(
    aws: Emulator, content_type: str, body: bytes, is_base64: bool
) -> None:
    event = echo(aws, body=body, content_type=content_type)

    assert event["isBase64Encoded"] is is_base64
    assert (base64.b64decode(event["body"]) if is_base64 else event["body"].encode()) == body


def test_an_event_without_body_cookies_or_query_has_no_such_keys(aws: Emulator) -> None:
    assert not {"body", "cookies", "queryStringParameters"} & echo(aws).keys()


def test_a_request_becomes_an_event_of_a_rest_api(rest_api: Emulator) -> None:
    event = echo(rest_api, "/echo/a%2Fb?x=1&y=%C3%A9+%26&x=", b"\xff", X_One="1")

    context = event["requestContext"]
    multiple = {
        "host": [f"127.0.0.1:{rest_api.port}"],
        "accept-encoding": ["identity"],
        "content-length": ["1"],
        "x-one": ["1"],
        "X-Forwarded-For": ["127.0.0.1"],
    }
    assert event == {
        "resource": "/{proxy+}",
        "path": "/echo/a%2Fb",
        "httpMethod": "POST",
        "headers": {name: values[-1] for name, values in multiple.items()},
        "multiValueHeaders": multiple,
        "queryStringParameters": {"x": "", "y": "é &"},
        "multiValueQueryStringParameters": {"x": ["1", ""], "y": ["é &"]},
        "pathParameters": {"proxy": "echo/a%2Fb"},
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "local",
            "domainName": f"127.0.0.1:{rest_api.port}",
            "domainPrefix": "127",
            "extendedRequestId": context["requestId"],
            "httpMethod": "POST",
            "identity": {"sourceIp": "127.0.0.1", "userAgent": ""},
            "path": "/echo/a%2Fb",
            "protocol": "HTTP/1.1",
            "requestId": context["requestId"],
            "requestTime": context["requestTime"],
            "requestTimeEpoch": context["requestTimeEpoch"],
            "resourcePath": "/{proxy+}",
            "stage": "live",
        },
        "body": "/w==",
        "isBase64Encoded": True,
    }


def test_a_request_of_nothing_becomes_an_event_of_a_rest_api(rest_api: Emulator) -> None:
    event = echo(rest_api, "/echo")

    assert (event["body"], event["isBase64Encoded"], event["multiValueQueryStringParameters"]) == (None, False, None)


def test_a_rest_api_streams(rest_api: Emulator, gate: Gate) -> None:
    response = rest_api.send(f"/gated?{gate.port}").getresponse()

    assert response.read(3) == b"one"
    gate.arrived()
    gate.open()
    assert response.read() == b"two"


def test_status_headers_and_cookies_come_from_the_prelude(aws: Emulator) -> None:
    told = {
        "status": 418,
        "headers": {"X-Tea": "é", "content-length": "7"},
        "body": "\0" * 9,
        "cookies": ["a=1", "b=2"],
    }
    response = aws.send("/told", json.dumps(told).encode(), content_type="application/json").getresponse()

    assert (response.status, response.read()) == (418, b"\0" * 9)
    assert response.headers["x-tea"] == "é"
    assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert response.headers["content-type"] == "application/octet-stream"


PRELUDE = b'{"statusCode": 201, "headers": {"a": "b"}}'


def answer_of(*chunks: bytes, content_type: str = "application/vnd.awslambda.http-integration-response") -> Answer:
    async def generate() -> AsyncGenerator[bytes, None]:
        for chunk in chunks:
            yield chunk

    return Answer(content_type, streaming=True, chunks=generate())


@pytest.mark.parametrize("cut", [1, len(PRELUDE), len(PRELUDE) + 1, len(PRELUDE) + 7, len(PRELUDE) + 8])
def test_a_prelude_may_be_cut_anywhere(cut: int) -> None:
    sent = PRELUDE + b"\0" * 8 + b"body\0\0\0\0\0\0\0\0"

    head, first = asyncio.run(_open_stream(answer_of(sent[:cut], sent[cut:])))

    assert (head.status_code, dict(head.headers)) == (201, {b"a": b"b", b"content-type": b"application/octet-stream"})
    assert sent.endswith(first)


def test_a_prelude_need_not_name_a_status() -> None:
    head, _ = asyncio.run(_open_stream(answer_of(b'{"headers": {"a": "b"}}' + b"\0" * 8)))

    assert (head.status_code, dict(head.headers)[b"a"]) == (200, b"b")


def test_an_answer_without_a_prelude_goes_out_as_it_is() -> None:
    head, first = asyncio.run(_open_stream(answer_of(PRELUDE, content_type="application/json")))

    assert (head.status_code, dict(head.headers), first) == (200, {b"content-type": b"application/octet-stream"}, b"")


@pytest.mark.parametrize(
    "chunks",
    [[], [PRELUDE], [b"[]" + b"\0" * 8], [b"{", b"\0" * 8], [b'{"statusCode": 200, "headers": 1}' + b"\0" * 8]],
)
def test_a_broken_prelude_is_a_bad_answer(chunks: list[bytes]) -> None:
    with pytest.raises(SandboxError):
        asyncio.run(_open_stream(answer_of(*chunks)))


@pytest.mark.parametrize(
    "told",
    [
        {"status": 99, "headers": {}, "body": "", "cookies": []},
        {"status": 200, "headers": {"a": "b\r\nc: d"}, "body": "", "cookies": []},
        {"status": 200, "headers": {"a": "🍀"}, "body": "", "cookies": []},
        {"status": "no", "headers": [], "body": "", "cookies": []},
    ],
)
def test_a_head_that_is_not_http_is_a_502(aws: Emulator, told: dict[str, Any]) -> None:
    answer = aws.ask("/told", json.dumps(told).encode(), content_type="application/json")

    assert answer == (502, b"Internal Server Error")
    assert aws.ask("/pid")[0] == 200


@pytest.mark.parametrize(("status", "method"), [(204, "POST"), (304, "POST"), (200, "HEAD")])
def test_answers_without_a_body_have_none(aws: Emulator, status: int, method: str) -> None:
    told = {"status": status, "headers": {}, "body": "", "cookies": []}

    answer = aws.ask("/told", json.dumps(told).encode(), method=method, content_type="application/json")

    assert answer == (status, b"")


def test_a_chunk_reaches_the_client_while_the_function_waits(aws: Emulator, gate: Gate) -> None:
    response = aws.send(f"/gated?{gate.port}").getresponse()

    assert response.headers["content-type"] == "text/event-stream"
    assert response.read1() == b"one"
    gate.arrived()
    gate.open()
    assert response.read() == b"two"


def test_a_client_that_leaves_does_not_stop_the_function(aws: Emulator, gate: Gate) -> None:
    before = aws.ask("/pid")
    connection = aws.send(f"/gated?{gate.port}")
    assert connection.getresponse().read1() == b"one"
    gate.arrived()
    connection.close()

    other = aws.ask("/pid")
    gate.open()

    assert other != before, "the sandbox that answers nobody is still busy"


def test_requests_at_once_get_a_sandbox_each(aws: Emulator, gate: Gate) -> None:
    first, second = (aws.send(f"/waits?{gate.port}") for _ in range(2))
    gate.arrived()
    gate.arrived()
    gate.open()

    assert first.getresponse().read() != second.getresponse().read()


def test_requests_one_after_the_other_share_one(aws: Emulator) -> None:
    assert len({aws.ask("/pid") for _ in range(20)}) == 1


def test_a_request_beyond_the_limit_is_a_429(tmp_path: Path, gate: Gate) -> None:
    with emulator(stage_sample(tmp_path / "task"), tmp_path / "log", "--max-sandboxes", "1") as aws:
        first = aws.send(f"/waits?{gate.port}")
        gate.arrived()
        refused = aws.send("/pid").getresponse()
        assert (refused.status, refused.headers["x-amzn-errortype"]) == (429, "TooManyRequestsException")
        assert json.loads(refused.read()) == {
            "Reason": "ConcurrentInvocationLimitExceeded",
            "Type": "User",
            "message": "Rate Exceeded.",
        }
        gate.open()
        pid = first.getresponse().read()
        assert aws.ask("/pid") == (200, pid)


@pytest.mark.parametrize("path", ["/fails", "/fails-first"])
def test_a_failure_before_the_first_byte_is_a_502_and_the_sandbox_stays(aws: Emulator, path: str) -> None:
    pid = aws.ask("/pid")

    assert aws.ask(path) == (502, b"Internal Server Error")
    assert aws.ask("/pid") == pid
    assert "aws_emulator: error: RuntimeError: before the" in aws.log.read_text()


def test_a_failure_in_mid_stream_cuts_the_connection_and_the_sandbox_stays(aws: Emulator) -> None:
    pid = aws.ask("/pid")
    response = aws.send("/fails-later").getresponse()

    assert (response.status, response.read1()) == (200, b"one")
    with pytest.raises(IncompleteRead):
        response.read()
    assert aws.ask("/pid") == pid


def test_a_crash_is_a_502_and_the_next_request_gets_a_new_sandbox(aws: Emulator) -> None:
    pid = aws.ask("/pid")

    assert aws.ask("/exits") == (502, b"Internal Server Error")
    assert aws.ask("/pid") not in (pid, (502, b"Internal Server Error"))
    assert "the sandbox ended with exit status 3" in aws.log.read_text()


def test_a_crash_in_mid_stream_cuts_the_connection(aws: Emulator, gate: Gate) -> None:
    response = aws.send(f"/exits-later?{gate.port}").getresponse()
    assert response.read1() == b"one"
    gate.arrived()
    gate.open()

    with pytest.raises(IncompleteRead):
        response.read()


def test_a_sandbox_that_dies_while_idle_costs_no_request(aws: Emulator) -> None:
    _, pid = aws.ask("/pid")
    os.kill(int(pid), signal.SIGKILL)

    assert aws.ask("/pid")[0] == 200


def test_the_deadline_ends_the_sandbox(tmp_path: Path, gate: Gate) -> None:
    with emulator(stage_sample(tmp_path / "task"), tmp_path / "log", "--timeout", "1.5") as aws:
        streaming = aws.send(f"/gated?{gate.port}").getresponse()
        waiting = aws.send(f"/waits?{gate.port}")
        assert streaming.read1() == b"one"

        with pytest.raises(IncompleteRead):
            streaming.read()
        response = waiting.getresponse()
        assert (response.status, response.read()) == (502, b"Internal Server Error")
        assert aws.ask("/pid")[0] == 200
    assert aws.log.read_text().count("Task timed out after 1.50 seconds") == 2


def test_an_event_over_the_limit_is_a_413(aws: Emulator) -> None:
    assert aws.ask("/pid", b"x" * (LIMIT_BYTES + 1)) == (413, b"Request Entity Too Large")
    # base64 makes four bytes of three: the limit is Lambda's, on the event
    assert aws.ask("/pid", b"x" * (LIMIT_BYTES * 3 // 4)) == (413, b"Request Entity Too Large")
    assert aws.ask("/pid", b"x" * (LIMIT_BYTES * 3 // 4 - 4096))[0] == 200


def test_an_init_error_ends_it_before_it_answers(tmp_path: Path) -> None:
    task_root = stage_sample(tmp_path / "task")
    (task_root / "lambda_function.py").write_text("raise ValueError('OPENAI_API_KEY is not set')")
    run = run_emulator("--port", "0", "--task-root", str(task_root))

    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.endswith("aws_emulator: init error: ValueError: OPENAI_API_KEY is not set\n")


def test_an_init_error_later_on_is_shown(tmp_path: Path) -> None:
    task_root = stage_sample(tmp_path / "task")
    with emulator(task_root, tmp_path / "log") as aws:
        (task_root / "lambda_function.py").write_text("raise ValueError('OPENAI_API_KEY is not set')")
        assert aws.ask("/exits") == (502, b"Internal Server Error")
        assert aws.ask("/pid") == (502, b"Internal Server Error")
        assert "aws_emulator: init error: ValueError: OPENAI_API_KEY is not set" in aws.log.read_text()


def test_it_can_be_stopped_while_the_function_is_set_up(tmp_path: Path, gate: Gate) -> None:
    task_root = stage_sample(tmp_path / "task")
    (task_root / "lambda_function.py").write_text(
        f"import socket\nsocket.create_connection(('127.0.0.1', {gate.port})).recv(1)"
    )
    command = [sys.executable, "-m", "local.aws_emulator", "--port", "0", "--task-root", str(task_root)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        gate.arrived()
        process.terminate()
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
    gate.ended()


def test_what_a_function_prints_is_seen(tmp_path: Path) -> None:
    with emulator(stage_sample(tmp_path / "task"), tmp_path / "log") as aws:
        aws.ask("/logs")
        assert aws.process.stdout
        assert aws.process.stdout.readline() == "to stdout\n"
        assert "to stderr\n" in aws.log.read_text()


def ask_buffered(buffered: Emulator, answer: object) -> HTTPResponse:
    return buffered.send("/", json.dumps(answer).encode(), content_type="application/json").getresponse()


@pytest.mark.parametrize(
    ("answer", "status", "content_type", "body"),
    [
        ({"statusCode": 201, "body": "é"}, 201, "application/json", "é".encode()),
        ({"statusCode": 200, "headers": {"Content-Type": "a/b", "x": 1}, "body": None}, 200, "a/b", b""),
        ({"statusCode": 200, "body": "/wA=", "isBase64Encoded": True}, 200, "application/json", b"\xff\x00"),
        ({"no": "status"}, 200, "application/json", b'{"no": "status"}'),
        ("a string", 200, "application/json", b'"a string"'),
        (None, 200, "application/json", b"null"),
    ],
)
def test_a_buffered_answer_is_unwrapped(
    buffered: Emulator, answer: object, status: int, content_type: str, body: bytes
) -> None:
    response = ask_buffered(buffered, answer)

    assert (response.status, response.headers["content-type"], response.read()) == (status, content_type, body)


@pytest.mark.parametrize(
    "answer",
    [
        {"statusCode": "teapot"},
        {"statusCode": 200, "body": {"not": "text"}},
        {"statusCode": 200, "body": "not base64!", "isBase64Encoded": True},
        {"statusCode": 200, "headers": ["a"]},
    ],
)
def test_a_buffered_answer_that_is_no_response_is_a_502(buffered: Emulator, answer: object) -> None:
    assert ask_buffered(buffered, answer).status == 502


def test_cookies_of_a_buffered_answer(buffered: Emulator) -> None:
    response = ask_buffered(buffered, {"statusCode": 200, "body": "", "cookies": ["a=1", "b=2"]})

    assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]


def test_a_buffered_answer_over_the_limit_is_a_502(buffered: Emulator) -> None:
    assert buffered.ask(f"/big?{LIMIT_BYTES + 1}") == (502, b"Internal Server Error")
    assert buffered.ask("/big?1000000")[0] == 200


def test_a_request_that_is_being_answered_breaks_off_when_the_emulator_stops(tmp_path: Path, gate: Gate) -> None:
    with emulator(stage_sample(tmp_path / "task"), tmp_path / "log") as aws:
        answered = aws.send(f"/waits?{gate.port}")
        gate.arrived()

        aws.process.terminate()

        assert answered.getresponse().status == 502
        assert aws.process.wait(20) == 0


KILLED = pytest.param(signal.SIGKILL, marks=pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's prctl"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, KILLED])
def test_no_sandbox_outlives_the_emulator(tmp_path: Path, gate: Gate, number: signal.Signals) -> None:
    with emulator(stage_sample(tmp_path / "task"), tmp_path / "log") as aws:
        aws.send(f"/waits?{gate.port}")
        gate.arrived()
        _, idle = aws.ask("/pid")

        aws.process.send_signal(number)
        status = aws.process.wait(20)

    assert status == (-number if number is signal.SIGKILL else 0)
    gate.ended()
    wait_for_end(int(idle))


def wait_for_end(pid: int) -> None:
    """The kernel tells nobody but the parent, which is gone: look."""
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} is still there")


def run_emulator(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local.aws_emulator", *arguments]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=20)


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        run = run_emulator("--port", port, "--task-root", str(stage_sample(tmp_path / "task")))

    assert run.returncode == 1
    [line] = run.stderr.splitlines()
    assert line.startswith(f"aws_emulator: cannot listen on 127.0.0.1:{port}: Address already in use")


def test_a_folder_without_a_function_is_a_clear_error(tmp_path: Path) -> None:
    run = run_emulator("--task-root", str(tmp_path))

    assert run.returncode == 2
    assert f"there is no {tmp_path}/run" in run.stderr


@pytest.mark.parametrize(
    "request_bytes",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nx\x00: y\r\n\r\n"],
    ids=["nonsense", "header"],
)
def test_what_is_not_http_is_a_400_and_the_next_request_works(aws: Emulator, request_bytes: bytes) -> None:
    with socket.create_connection(("127.0.0.1", aws.port), timeout=20) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert aws.ask("/pid")[0] == 200
