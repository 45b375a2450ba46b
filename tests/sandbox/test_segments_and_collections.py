"""Manual segments over both APIs, and the App API's collections."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from cio_dagster.sandbox.app_collections import write_rows
from cio_dagster.sandbox.process import RunningSandbox

from .client import Client


@pytest.fixture
def segment(client: Client) -> int:
    answer = client.post("/v1/segments", {"segment": {"name": "vip", "description": "the best"}})
    assert answer.status == 200
    id: int = answer.json["segment"]["id"]
    return id


def people(client: Client, count: int) -> None:
    client.batch(
        *(
            {"type": "person", "action": "identify", "identifiers": {"id": str(i)},
             "attributes": {"email": f"{i}@example.com"}}
            for i in range(count)
        )
    )  # fmt: skip


def members(sandbox: RunningSandbox) -> list[str]:
    return [each["id"] for each in sandbox.get("segments")[0]["members"]]


def test_a_segment_is_made_listed_and_removed(client: Client, segment: int) -> None:
    own = client.get(f"/v1/segments/{segment}").json["segment"]
    assert client.get("/v1/segments").json == {"segments": [own]}
    assert own["deduplicate_id"] == f"{segment}:{own['updated_at']}"
    assert {name: own[name] for name in ("name", "description", "state", "progress", "type", "tags")} == {
        "name": "vip",
        "description": "the best",
        "state": "finished",
        "progress": None,
        "type": "manual",
        "tags": None,
    }
    assert client.get(f"/v1/segments/{segment}/used_by").json == {
        "segment_id": segment,
        "used_by": {"campaigns": [], "sent_newsletters": [], "draft_newsletters": []},
    }
    gone = client.delete(f"/v1/segments/{segment}")
    assert (gone.status, gone.body) == (204, b"")
    assert client.get("/v1/segments").json == {"segments": []}


@pytest.mark.parametrize("body", [{}, {"name": "x"}, {"segment": {}}, {"segment": {"name": 5}}, {"segment": "x"}, []])
def test_a_segment_needs_a_name(client: Client, body: object) -> None:
    answer = client.post("/v1/segments", body)
    assert answer.status == 400
    assert answer.json["errors"][0]["status"] == "400"


def test_unknown_segments_are_404_in_the_app_api(client: Client) -> None:
    for id in ("9", "x", "9" * 40):
        for rest in ("", "/used_by", "/customer_count", "/membership"):
            answer = client.get(f"/v1/segments/{id}{rest}")
            assert answer.status == 404
            assert answer.json["errors"][0]["status"] == "404"
        assert client.delete(f"/v1/segments/{id}").status == 404


def test_a_second_segment_of_one_name(client: Client, sandbox: RunningSandbox, segment: int) -> None:
    assert client.post("/v1/segments", {"segment": {"name": "vip"}}).status == 200
    sandbox.settings(duplicate_segment_names="reject")
    assert client.post("/v1/segments", {"segment": {"name": "vip"}}).status == 400


def test_people_are_added_and_removed(client: Client, sandbox: RunningSandbox, segment: int) -> None:
    people(client, 4)
    path = f"/api/v1/segments/{segment}"
    cio_ids = [each["cio_id"] for each in sandbox.get("people")]
    assert client.post(f"{path}/add_customers", {"ids": ["0", "unknown", "0"]}).json == {}
    assert client.post(f"{path}/add_customers?id_type=email", {"ids": ["1@EXAMPLE.com", "2"]}).json == {}
    # Whether a cio_id has its prefix here is not documented; the Go client's tests send it.
    assert client.post(f"{path}/add_customers?id_type=cio_id", {"ids": [cio_ids[2], f"cio_{cio_ids[3]}"]}).json == {}
    assert members(sandbox) == ["0", "1", "2", "3"]
    assert client.get(f"/v1/segments/{segment}/customer_count").json == {"segment_id": segment, "count": 4}
    assert client.get("/v1/customers/2/segments").json == {
        "segments": [{"id": segment, "name": "vip", "description": "the best"}]
    }
    client.post(f"{path}/remove_customers", {"ids": ["0", "unknown"]})
    client.post(f"{path}/remove_customers?id_type=email", {"ids": ["1@example.com"]})
    client.post(f"{path}/remove_customers?id_type=cio_id", {"ids": [cio_ids[2]]})
    assert members(sandbox) == ["3"]


def test_values_of_another_kind_are_ignored(client: Client, sandbox: RunningSandbox, segment: int) -> None:
    people(client, 2)
    assert client.post(f"/api/v1/segments/{segment}/add_customers", {"ids": [0, None, {}, "", "1"]}).status == 200
    assert members(sandbox) == ["1"]


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": "1"}, {"ids": [str(i) for i in range(1001)]}, {"ids": None}])
def test_one_to_a_thousand_ids(client: Client, segment: int, body: dict[str, object]) -> None:
    for action in ("add", "remove"):
        answer = client.post(f"/api/v1/segments/{segment}/{action}_customers", body)
        assert answer.status == 400
        assert answer.json["meta"]["errors"]


def test_a_thousand_ids_are_taken(client: Client, sandbox: RunningSandbox, segment: int) -> None:
    people(client, 1000)
    client.post(f"/api/v1/segments/{segment}/add_customers", {"ids": [str(i) for i in range(1000)]})
    assert len(members(sandbox)) == 1000


def test_a_segment_must_exist_be_manual_and_have_a_known_id_type(client: Client, segment: int) -> None:
    made = client.post("/_sandbox/segments", {"name": "active", "type": "dynamic"}).json["id"]
    for id, query in ((999, ""), ("x", ""), (made, ""), (segment, "?id_type=phone")):
        answer = client.post(f"/api/v1/segments/{id}/add_customers{query}", {"ids": ["1"]})
        assert answer.status == 400
        assert answer.json["meta"]["errors"]
    assert client.delete(f"/v1/segments/{made}").status == 400
    assert client.get(f"/v1/segments/{made}").json["segment"]["type"] == "dynamic"


def test_unknown_people_can_be_created(client: Client, sandbox: RunningSandbox, segment: int) -> None:
    sandbox.settings(segment_unknown_people="create")
    client.post(f"/api/v1/segments/{segment}/add_customers?id_type=email", {"ids": ["new@example.com"]})
    assert sandbox.get("segments")[0]["members"][0]["email"] == "new@example.com"


def test_membership_is_paged(client: Client, segment: int) -> None:
    people(client, 5)
    client.identify({"email": "no-id@example.com"})
    client.post(f"/api/v1/segments/{segment}/add_customers", {"ids": ["4", "3", "2", "1", "0"]})
    client.post(f"/api/v1/segments/{segment}/add_customers?id_type=email", {"ids": ["no-id@example.com"]})
    ids: list[str] = []
    start = ""
    while True:
        page = client.get(f"/v1/segments/{segment}/membership?limit=4&start={start}").json
        assert [each["id"] or "" for each in page["identifiers"]] == page["ids"]
        ids += page["ids"]
        start = page["next"]
        if not start:
            break
    assert ids == ["0", "1", "2", "3", "4", ""]
    assert len(client.get(f"/v1/segments/{segment}/membership").json["ids"]) == 6
    for wrong in ("limit=0", "limit=30001", "limit=x", "start=!"):
        assert client.get(f"/v1/segments/{segment}/membership?{wrong}").status == 400


def make(client: Client, name: str = "shops", data: object = ()) -> dict[str, Any]:
    answer = client.post("/v1/collections", {"name": name, "data": list(data)})  # type: ignore[call-overload]
    assert answer.status == 200
    collection: dict[str, Any] = answer.json["collection"]
    return collection


def test_a_collection_is_made_read_replaced_and_removed(client: Client, sandbox: RunningSandbox) -> None:
    rows = [{"city": "Oslo", "open": True}, {"city": "Ålesund", "n": 1}]
    made = make(client, data=rows)
    assert {**made, "created_at": 0, "updated_at": 0} == {
        "id": made["id"],
        "name": "shops",
        "bytes": len('[{"city":"Oslo","open":true},{"city":"Ålesund","n":1}]'.encode()),
        "rows": 2,
        "schema": ["city", "n", "open"],
        "created_at": 0,
        "updated_at": 0,
    }
    path = f"/v1/collections/{made['id']}"
    assert client.get("/v1/collections").json == {"collections": [made]}
    assert client.get(path).json == {"collection": made}
    assert client.get(f"{path}/content").json == rows
    renamed = client.put(path, {"name": "stores"}).json["collection"]
    assert (renamed["name"], renamed["rows"]) == ("stores", 2)
    assert client.put(path, {"data": [{"x": 1}]}).json["collection"]["schema"] == ["x"]
    assert client.put(f"{path}/content", [{"y": 1}, {"y": 2}]).json["collection"]["rows"] == 2
    assert sandbox.get("collections")[0]["data"] == [{"y": 1}, {"y": 2}]
    assert client.put(f"{path}/content", {"z": 1}).status == 200
    assert client.get(f"{path}/content").json == [{"z": 1}]
    client.put(f"{path}/content", {"data": [{"a": 1}]})
    assert client.get(f"{path}/content").json == [{"a": 1}]
    assert client.delete(path).status == 204
    for method, rest in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/content"), ("PUT", "/content")):
        assert client.call(method, path + rest, {} if method == "PUT" else None).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"data": []},
        {"name": "", "data": []},
        {"name": "x", "data": {}},
        {"name": "x", "data": [1]},
        {"name": "x", "data": [], "url": "http://127.0.0.1/x.json"},
        {"name": "x", "url": "file:///etc/hostname"},
        {"name": "x", "url": 5},
        {"name": "x", "url": "http://127.0.0.1:9/x.json"},
        {"name": "x", "data": [{"a": "x" * 9_993}]},
        b"{",
    ],
)
def test_wrong_collections(client: Client, sandbox: RunningSandbox, body: object) -> None:
    answer = client.post("/v1/collections", body)
    assert answer.status == 400
    assert isinstance(answer.json["errors"][0]["detail"], str)
    assert sandbox.get("collections") == []


def test_collection_limits(client: Client, sandbox: RunningSandbox) -> None:
    row = {"a": "x" * 9_992}
    made = make(client, data=[row] * 999)
    path = f"/v1/collections/{made['id']}"
    assert made["bytes"] == 999 * 10_001 + 1
    too_large = [row] * 1000
    assert client.put(path, {"data": too_large}).status == 400
    assert client.put(f"{path}/content", too_large).status == 400
    assert client.get(path).json["collection"]["rows"] == 999
    sandbox.settings(collections=2)
    make(client, "second")
    assert client.post("/v1/collections", {"name": "third", "data": []}).status == 400


def test_a_second_collection_of_one_name(client: Client, sandbox: RunningSandbox) -> None:
    first, second = make(client, "a"), make(client, "b")
    assert client.post("/v1/collections", {"name": "a", "data": []}).status == 400
    assert client.put(f"/v1/collections/{second['id']}", {"name": "a"}).status == 400
    assert client.put(f"/v1/collections/{first['id']}", {"name": "a"}).status == 200
    sandbox.settings(duplicate_collection_names="allow")
    assert client.post("/v1/collections", {"name": "a", "data": []}).status == 200


class _Files(http.server.BaseHTTPRequestHandler):
    files: ClassVar = {
        "/x.csv": ("text/plain", b"\xef\xbb\xbfid,plan\n1,pro\n2,\n"),
        "/x": ("text/csv", b"sku,price\na,1\n"),
        "/x.json": ("application/json", b'[{"sku":"a","price":1}]'),
        "/bare": ("application/octet-stream", b'[{"sku":"b"}]'),
        "/bad.json": ("application/json", b"<html>"),
        "/events.csv": ("text/csv", b"id,name,timestamp,item\n1,bought,1600000000,socks\n"),
        "/objects.csv": ("text/csv", b"object_id,name\nacme,Acme\n"),
        "/relationships.csv": ("text/csv", b"object_type_id,object_id,id,role\n1,acme,1,admin\n"),
    }

    def do_GET(self) -> None:
        type, body = self.files.get(self.path, ("text/plain", b""))
        self.send_response(200 if self.path in self.files else 404)
        self.send_header("Content-Type", type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_collection_from_a_url(client: Client, files: str) -> None:
    for name, rows in (
        ("x.csv", [{"id": "1", "plan": "pro"}, {"id": "2", "plan": ""}]),
        ("x", [{"sku": "a", "price": "1"}]),
        ("x.json", [{"sku": "a", "price": 1}]),
        ("bare", [{"sku": "b"}]),
    ):
        made = client.post("/v1/collections", {"name": name, "url": f"{files}/{name}"})
        assert client.get(f"/v1/collections/{made.json['collection']['id']}/content").json == rows
    for name in ("nothing", "bad.json"):
        assert client.post("/v1/collections", {"name": name, "url": f"{files}/{name}"}).status == 400


def test_imports_do_what_their_rows_say(client: Client, sandbox: RunningSandbox, files: str) -> None:
    def run(name: str, type: str, **rest: object) -> dict[str, Any]:
        body = {"name": name, "data_file_url": f"{files}/{name}", "type": type, **rest}
        answer = client.post("/v1/imports", {"import": body})
        assert answer.status == 200
        done: dict[str, Any] = answer.json["import"]
        assert client.get(f"/v1/imports/{done['id']}").json["import"] == done
        return done

    done = run("x.csv", "people", identifier="id")
    assert (done["state"], done["rows_to_import"], done["rows_imported"]) == ("imported", 2, 2)
    assert run("x.csv", "people", identifier="id", data_to_process="only_new")["rows_imported"] == 0
    assert run("x.csv", "people", identifier="id", data_to_process="only_existing")["rows_imported"] == 2
    run("events.csv", "event", identifier="id")
    run("objects.csv", "object", object_type_id="1")
    run("relationships.csv", "relationship", identifier="id")
    assert [each["attributes"] for each in sandbox.get("people")] == [{"plan": "pro"}, {}]
    assert sandbox.get("events")[0]["attributes"] == {"item": "socks"}
    assert sandbox.get("objects")[0]["attributes"] == {"name": "Acme"}
    assert sandbox.get("relationships")[0]["attributes"] == {"role": "admin"}
    failed = run("nothing", "people", identifier="id")
    assert failed["state"] == "failed"
    assert failed["error"]
    assert "row 1" in run("events.csv", "people", identifier="email")["error"]
    assert client.get("/v1/imports/999").status == 404


@pytest.mark.parametrize("wrong", [{"type": "cats"}, {"name": None}, {"identifier": "shoe"}, {"data_to_process": "some"}])
def test_wrong_imports(client: Client, wrong: dict[str, object]) -> None:
    right = {"name": "x", "data_file_url": "http://127.0.0.1:9/x.csv", "type": "people", "identifier": "id"}
    assert client.post("/v1/imports", {"import": {**right, **wrong}}).status == 400


def test_keyed_writes(client: Client, sandbox: RunningSandbox) -> None:
    path = f"/v1/collections/{make(client)['id']}"

    def write(mode: str, *rows: dict[str, object], **rest: object) -> dict[str, Any]:
        answer = client.post(f"{path}/writes", {"mode": mode, "data": list(rows), **rest})
        assert answer.status == 202
        assert answer.json["write"]["state"] == "pending"
        done = client.get(f"{path}/writes/{answer.json['write']['id']}").json["write"]
        assert done.pop("id") == answer.json["write"]["id"]
        return done  # type: ignore[no-any-return]

    assert client.post(f"{path}/writes", {"mode": "add", "data": []}).status == 400
    assert write("replace", {"sku": "A-100", "n": 1}, key_field="sku") == {"state": "done"}
    assert client.get(path).json["collection"]["key_field"] == "sku"
    assert write("add", {"sku": "A-100"}, {"sku": "B"}) == {
        "state": "failed",
        "code": "items",
        "items": [{"index": 0, "key": "A-100", "code": "key-already-exists"}],
        "message": 'item 0 ("A-100"): key-already-exists',
    }
    assert client.get(f"{path}/content").json == [{"sku": "A-100", "n": 1}]
    assert write("upsert", {"sku": "B", "n": 2}, {"sku": "A-100", "m": 3}) == {"state": "done"}
    assert write("update", {"sku": "B", "m": 4}) == {"state": "done"}
    assert client.get(f"{path}/content").json == [{"sku": "A-100", "m": 3}, {"sku": "B", "n": 2, "m": 4}]
    assert write("update", {"sku": "C"})["items"][0]["code"] == "key-not-found"
    assert write("delete", {"sku": "A-100"}, {"sku": "nothing"}) == {"state": "done"}
    assert client.get(f"{path}/content").json == [{"sku": "B", "n": 2, "m": 4}]
    for wrong in ({"mode": "eat", "data": []}, {"mode": "add"}, {"mode": "replace", "data": [], "key_field": 5}):
        assert client.post(f"{path}/writes", wrong).status == 400
    assert client.get(f"{path}/writes/none").status == 404


def test_a_write_waits_and_its_result_is_kept_for_a_day(client: Client, sandbox: RunningSandbox) -> None:
    path = f"/v1/collections/{make(client)['id']}"
    sandbox.settings(export_delay=60)
    id = client.post(f"{path}/writes", {"mode": "replace", "data": [{"a": 1}]}).json["write"]["id"]
    assert client.get(f"{path}/writes/{id}").json["write"] == {"id": id, "state": "pending"}
    assert client.get(f"{path}/content").json == []
    sandbox.settings(clock_offset=61)
    assert client.get(f"{path}/writes/{id}").json["write"] == {"id": id, "state": "done"}
    assert client.get(f"{path}/content").json == [{"a": 1}]
    sandbox.settings(clock_offset=61 + 24 * 3600 + 5)
    assert client.get(f"{path}/writes/{id}").status == 404


@pytest.mark.parametrize("key", [None, "", True, [], "x" * 1025])
def test_keys_are_strings_or_numbers(key: object) -> None:
    rows, items = write_rows([{"k": 1}], [{"k": 2}, {"k": key}, {"k": 2}], "upsert", "k")
    assert [(each["index"], each["code"]) for each in items] == [(1, "invalid-key"), (2, "duplicate-key")]
    assert {"k": 1} in rows
