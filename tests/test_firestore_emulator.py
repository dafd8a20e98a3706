"""The Firestore emulator, as Google's own libraries see it, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from firestore_process import SKIPPED, FirestoreEmulator, running

firestore: Any = pytest.importorskip("google.cloud.firestore", reason=SKIPPED)
exceptions: Any = pytest.importorskip("google.api_core.exceptions", reason=SKIPPED)
pytestmark = pytest.mark.anyio

_DATABASE = "projects/p/databases/(default)"
_NAME = f"{_DATABASE}/documents/c/d"
_ONE = {"integerValue": "1"}
_WRITE = {"update": {"name": _NAME, "fields": {"n": _ONE}}}


@pytest.fixture(scope="module")
def module_emulator() -> Iterator[FirestoreEmulator]:
    with running() as emulator:
        yield emulator


@pytest.fixture(scope="module", autouse=True)
async def one_event_loop() -> AsyncIterator[None]:
    """Keeps one event loop for all tests here: grpc's poller, one for the process, calls on loops that it once knew."""
    yield  # noqa: PT022 - a fixture that has returned keeps nothing


@pytest.fixture
def emulator(module_emulator: FirestoreEmulator) -> FirestoreEmulator:
    module_emulator.clear()
    module_emulator.calls()
    return module_emulator


@pytest.fixture
async def client(emulator: FirestoreEmulator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Google's, over gRPC."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.grpc_address)
    client = firestore.AsyncClient(project="p")
    yield client
    await client._firestore_api.transport.close()  # its own close() is not awaitable


def _post(emulator: FirestoreEmulator, method: str, **body: object) -> tuple[int, Any]:
    request = urllib.request.Request(f"{emulator.url}/v1/{_DATABASE}/{method}", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


async def test_documents(client: Any) -> None:
    document = client.collection("c").document("d")
    assert not (await document.get()).exists
    moment = datetime(2026, 11, 3, 12, 0, 0, 123456, UTC)
    value = {"text": "漢字", "n": 2**53, "f": 1.0, "at": moment, "map": {"a": {"b": [1, None, True]}}, "raw": b"\0"}
    await document.create(value)
    with pytest.raises(exceptions.AlreadyExists):
        await document.create({})
    first = await document.get()
    assert first.to_dict() == value
    await document.update({"map.a.c": 2, "text": firestore.DELETE_FIELD})
    second = await document.get()
    assert second.get("map") == {"a": {"b": [1, None, True], "c": 2}}
    assert "text" not in second.to_dict()
    assert first.create_time == first.update_time == second.create_time < second.update_time
    await document.set({"only": 1}, merge=True)
    assert (await document.get()).get("only") == 1
    await document.set({"only": 1})
    assert (await document.get()).to_dict() == {"only": 1}
    await document.delete()
    await document.delete()
    with pytest.raises(exceptions.NotFound):
        await document.update({"n": 1})


async def test_preconditions(client: Any) -> None:
    document = client.collection("c").document("d")
    old = (await document.set({"n": 1})).update_time
    unchanged = (await document.set({"n": 1})).update_time
    assert unchanged == old
    new = (await document.set({"n": 2})).update_time
    with pytest.raises(exceptions.FailedPrecondition):
        await document.update({"n": 3}, option=client.write_option(last_update_time=old))
    with pytest.raises(exceptions.FailedPrecondition):
        await document.delete(option=client.write_option(last_update_time=old))
    await document.update({"n": 3}, option=client.write_option(last_update_time=new))
    batch = client.batch()
    batch.set(client.collection("c").document("other"), {})
    batch.create(document, {})
    with pytest.raises(exceptions.AlreadyExists):
        await batch.commit()
    assert not (await client.collection("c").document("other").get()).exists


async def test_transforms(client: Any) -> None:
    document = client.collection("c").document("d")
    await document.set({"n": 2**63 - 2, "list": [1, 2], "high": 5, "low": 5})
    await document.update(
        {
            "n": firestore.Increment(5),
            "new": firestore.Increment(1.5),
            "list": firestore.ArrayUnion([2, 3]),
            "high": firestore.Maximum(7),
            "low": firestore.Minimum(7),
            "at": firestore.SERVER_TIMESTAMP,
        }
    )
    after = await document.get()
    assert after.get("at") == after.update_time
    expected = {"n": 2**63 - 1, "new": 1.5, "list": [1, 2, 3], "high": 7, "low": 5, "at": after.update_time}
    assert after.to_dict() == expected
    await document.update({"list": firestore.ArrayRemove([1, 3])})
    assert (await document.get()).get("list") == [2]


async def test_increments_at_once_lose_nothing(client: Any) -> None:
    document = client.collection("c").document("d")
    await document.set({"n": 0})
    await asyncio.gather(*(document.update({"n": firestore.Increment(1)}) for _ in range(50)))
    assert (await document.get()).get("n") == 50


async def test_transactions_lose_nothing(client: Any) -> None:
    document = client.collection("c").document("d")
    await document.set({"n": 0})

    async def add(transaction: Any) -> None:
        number = (await document.get(transaction=transaction)).get("n")
        transaction.update(document, {"n": number + 1})

    add_in_transaction = firestore.async_transactional(add)
    await asyncio.gather(*(add_in_transaction(client.transaction(max_attempts=30)) for _ in range(8)))
    assert (await document.get()).get("n") == 8


async def test_queries(client: Any) -> None:
    items = client.collection("c").document("d").collection("items")
    rows = {"a": (3, "x"), "b": (1, "y"), "c": (2, "x"), "d": (2, "z"), "é": (9, "x")}
    await asyncio.gather(*(items.document(name).set({"n": n, "s": s}) for name, (n, s) in rows.items()))
    await client.collection("items").document("elsewhere").set({"n": 2})

    async def ids(query: Any) -> list[str]:
        return [found.id async for found in query.stream()]

    where = firestore.FieldFilter
    assert await ids(items) == ["a", "b", "c", "d", "é"]
    assert await ids(items.where(filter=where("s", "==", "x")).where(filter=where("n", ">", 2))) == ["a", "é"]
    assert await ids(items.where(filter=where("s", "in", ["y", "z"]))) == ["b", "d"]
    assert await ids(items.order_by("n").order_by("s", direction="DESCENDING")) == ["b", "d", "c", "a", "é"]
    assert await ids(items.order_by("__name__").limit(2).offset(1)) == ["b", "c"]
    assert await ids(items.order_by("__name__").start_after({"__name__": items.document("c")})) == ["d", "é"]
    assert await ids(items.order_by("n").end_at({"n": 2})) == ["b", "c", "d"]
    assert await ids(client.collection_group("items").where(filter=where("n", "==", 2))) == ["c", "d", "elsewhere"]
    assert await ids(client.collection("nothing")) == []
    (selected,) = [found async for found in items.where(filter=where("n", "==", 9)).select(["s"]).stream()]
    assert selected.to_dict() == {"s": "x"}


async def test_what_it_does_not_know_it_says(client: Any) -> None:
    with pytest.raises(exceptions.MethodNotImplemented):
        await client.collection("c").count().get()


def test_googles_rest_client(emulator: FirestoreEmulator) -> None:
    gapic = pytest.importorskip("google.cloud.firestore_v1.services.firestore", reason=SKIPPED)
    rest = pytest.importorskip("google.cloud.firestore_v1.services.firestore.transports.rest", reason=SKIPPED)
    credentials = pytest.importorskip("google.auth.credentials", reason=SKIPPED).AnonymousCredentials()
    host = emulator.url.removeprefix("http://")
    transport = rest.FirestoreRestTransport(host=host, url_scheme="http", credentials=credentials)
    with gapic.FirestoreClient(transport=transport) as client:
        write = {"update": {"name": _NAME, "fields": {"n": {"integer_value": 1}}}}
        committed = client.commit(request={"database": _DATABASE, "writes": [write]})
        document = client.get_document(request={"name": _NAME})
        assert (document.fields["n"].integer_value, document.update_time) == (1, committed.write_results[0].update_time)
        (found,) = client.batch_get_documents(request={"database": _DATABASE, "documents": [_NAME]})
        assert found.found == document
        query = {"from_": [{"collection_id": "c"}]}
        (row,) = client.run_query(request={"parent": f"{_DATABASE}/documents", "structured_query": query})
        assert row.document == document


async def test_both_fronts_show_the_same(emulator: FirestoreEmulator, client: Any) -> None:
    assert _post(emulator, "documents:commit", writes=[_WRITE])[0] == 200
    assert (await client.collection("c").document("d").get()).to_dict() == {"n": 1}


def test_an_increment_says_what_it_made(emulator: FirestoreEmulator) -> None:
    """As in https://firebase.google.com/docs/firestore/reference/rest/v1/projects.databases.documents/commit."""
    write = {
        "update": {"name": _NAME, "fields": {}},
        "updateMask": {"fieldPaths": []},
        "updateTransforms": [{"fieldPath": "`a.b`", "increment": _ONE}],
    }
    for count in ("1", "2"):
        _, answer = _post(emulator, "documents:commit", writes=[write])
        assert answer["writeResults"][0]["transformResults"] == [{"integerValue": count}]


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("documents:commit", {"writes": [{**_WRITE, "currentDocuments": {}}]}, "INVALID_ARGUMENT"),
        ("documents:commit", {"writes": [{"update": {"name": _NAME, "fields": {"n": 1}}}]}, "INVALID_ARGUMENT"),
        ("documents:commit", {"writes": [{"update": {"name": f"{_DATABASE}/documents/c"}}]}, "INVALID_ARGUMENT"),
        ("documents:commit", {"writes": [{"update": {"name": f"{_NAME}/c/__x__"}}]}, "INVALID_ARGUMENT"),
        ("documents:commit", {"writes": [{"update": {"name": f"{_NAME}/c/.."}}]}, "INVALID_ARGUMENT"),
        ("documents:commit", {"writes": [{"update": {"name": f"{_NAME}/c/{'x' * 1501}"}}]}, "INVALID_ARGUMENT"),
        ("documents:commit", {"writes": [{"update": {"name": _NAME, "fields": {"": _ONE}}}]}, "INVALID_ARGUMENT"),
        ("documents:commit", {"writes": [{"update": {"name": _NAME, "fields": {"n": {}}}}]}, "INVALID_ARGUMENT"),
        ("documents:commit", {"writes": [], "transaction": "AAAA"}, "INVALID_ARGUMENT"),
        ("documents:commit", {"writes": [{**_WRITE, "currentDocument": {"exists": True}}]}, "NOT_FOUND"),
        ("documents:batchGet", {"documents": [_NAME.replace("/p/", "/q/")]}, "INVALID_ARGUMENT"),
        ("documents:runQuery", {"structuredQuery": {}}, "INVALID_ARGUMENT"),
        ("documents:batchWrite", {"writes": []}, "UNIMPLEMENTED"),
    ],
    ids=str,
)
def test_refused(emulator: FirestoreEmulator, method: str, body: dict[str, object], status: str) -> None:
    code, answer = _post(emulator, method, **body)
    error = answer[0]["error"] if isinstance(answer, list) else answer["error"]
    assert (error["status"], error["code"]) == (status, code)


def test_nested_arrays_are_refused(emulator: FirestoreEmulator) -> None:
    inner = {"arrayValue": {"values": [_ONE]}}
    fields = {"list": {"arrayValue": {"values": [inner]}}}
    code, _ = _post(emulator, "documents:commit", writes=[{"update": {"name": _NAME, "fields": fields}}])
    assert code == 400


def test_a_transaction_over_what_has_changed_is_aborted(emulator: FirestoreEmulator) -> None:
    _, (answer,) = _post(emulator, "documents:batchGet", documents=[_NAME], newTransaction={"readWrite": {}})
    assert answer["missing"] == _NAME
    _post(emulator, "documents:commit", writes=[_WRITE])
    code, refused = _post(emulator, "documents:commit", writes=[_WRITE], transaction=answer["transaction"])
    assert (code, refused["error"]["status"]) == (409, "ABORTED")


def test_it_sweeps_what_is_over(emulator: FirestoreEmulator) -> None:
    fields = {"expire_at": {"timestampValue": "2026-12-01T00:00:00Z"}}
    _post(emulator, "documents:commit", writes=[{"update": {"name": _NAME, "fields": fields}}])
    end = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    assert (emulator.sweep(end - 1), emulator.sweep(end), emulator.sweep(end)) == (0, 1, 0)


def test_the_metadata_server_insists_on_its_header(emulator: FirestoreEmulator) -> None:
    url = f"{emulator.url}/computeMetadata/v1/instance/service-accounts/default/token"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=20)
    with refused.value:
        assert refused.value.code == 403
    request = urllib.request.Request(url, headers={"metadata-flavor": "Google"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert json.load(answer).keys() == {"access_token", "expires_in", "token_type"}
