"""The sandbox's web pages: what they show, that they are short whatever there is, and that no value becomes markup."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from cio_dagster.sandbox.store import Store
from cio_dagster.sandbox.ui.rates import rates

from .client import Client

UI = "/_sandbox/ui"
LISTS = ("people", "devices", "events", "segments", "objects", "relationships", "collections", "activities", "requests")
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}&amp;"


class Page(HTMLParser):
    """A page's text, its tags with their attributes, and its links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def links(self) -> list[str]:
        return [attributes["href"] or "" for tag, attributes in self.tags if tag == "a"]


def page(client: Client, path: str, status: int = 200) -> Page:
    answer = client.get(path, Authorization="")
    assert answer.status == status, path
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(answer.body.decode())


def fill(client: Client, text: str) -> None:
    """One of everything, each with `text` wherever a sender may write something."""
    client.identify({"id": "ann"}, email="ann@example.com", **{text[:100]: {text: [text]}, "plan": text})
    client.identify({"id": text}, name=text)
    client.entity(type="person", action="identify", identifiers={"email": "ann@example.com"}, attributes={"id": "other"})
    device = {"token": text, "platform": "ios", "attributes": {"model": text}}
    client.entity(type="person", action="add_device", identifiers={"id": "ann"}, device=device)
    client.event({"id": "ann"}, text, attributes={"item": text})
    client.post("/api/v1/events", {"name": text, "anonymous_id": text, "data": {"item": text}})
    segment = client.post("/v1/segments", {"segment": {"name": text, "description": text}}).json["segment"]["id"]
    client.post(f"/api/v1/segments/{segment}/add_customers", {"ids": ["ann", text]})
    related = {"identifiers": {"id": "ann"}, "relationship_attributes": {"role": text}}
    client.object(text, attributes={"name": text}, cio_relationships=[related])
    assert client.post("/v1/collections", {"name": text, "data": [{text: text, "rank": 1}]}).status == 200
    client.get(f"/v1/{quote(text)}?x={quote(text, safe='<>')}")


def test_the_front_page_counts_everything_and_shows_failures(client: Client) -> None:
    assert "None: every change was applied." in page(client, "/").text
    assert "No request came yet." in page(client, "/").text
    fill(client, "word")
    front = page(client, "/")
    for shown in ("2 people", "1 devices", "2 events", "1 segments", "1 objects", "1 relationships", "1 collections"):
        assert shown in front.text
    assert "failed_attribute_change" in front.text
    assert "11 requests" in front.text
    assert "1 failed requests" in front.text
    assert {f"{UI}/{name}" for name in LISTS} <= set(front.links)
    assert any(tag == "svg" and attributes["role"] == "img" for tag, attributes in front.tags)


def test_looking_asks_for_no_credentials_and_leaves_no_trace(client: Client, sandbox: RunningSandbox) -> None:
    for path in ("/", *(f"{UI}/{name}" for name in LISTS)):
        page(client, path)
    assert sandbox.get("requests") == []
    assert client.get(f"{UI}/nothing").status == 404


def test_each_list_leads_to_its_pages(client: Client) -> None:
    fill(client, "word")
    person = next(link for link in page(client, f"{UI}/people").links if link.startswith(f"{UI}/people/"))
    shown = page(client, person).text
    for part in ("ann@example.com", "Attributes plan word string", "ios", "word", "failed_attribute_change"):
        assert part.replace("Attributes ", "") in shown
    for name, words in {"segments": "2 members", "objects": "1 (Accounts)", "collections": "1 rows"}.items():
        [link] = [link for link in page(client, f"{UI}/{name}").links if link.startswith(f"{UI}/{name}/")]
        assert words in page(client, link).text
    assert "There is no person nobody" in page(client, f"{UI}/people/nobody", status=404).text
    assert page(client, f"{UI}/segments/99", status=404)


def test_failures_alone(client: Client) -> None:
    fill(client, "word")
    assert "1 found." in page(client, f"{UI}/activities?failed=on").text
    assert "attribute_change" in page(client, f"{UI}/activities").text
    refused = page(client, f"{UI}/requests?failed=on").text
    assert "1 failed requests" in refused
    assert "404" in refused


@pytest.mark.parametrize("sought", ["word", "WORD", "other"])
def test_a_search_finds_parts_in_either_case(client: Client, sought: str) -> None:
    fill(client, "word")
    for name in ("people", "devices", "events", "segments", "objects", "relationships", "collections", "activities"):
        found = int(re.search(r"(\d+) found", page(client, f"{UI}/{name}?q={sought}").text).group(1))  # type: ignore[union-attr]
        assert (found > 0) == (sought != "other"), name


def test_no_value_becomes_markup(client: Client) -> None:
    fill(client, EVIL)
    seen, left = set(), ["/", f"{UI}/people?q={quote(EVIL)}", f"{UI}/people/%3Cscript%3E"]
    while left:
        path = left.pop()
        answer = client.get(path)
        assert "Content-Security-Policy" in answer.headers, path
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        shown = Page(answer.body.decode())
        assert not {"script", "img", "style", "iframe"} & {tag for tag, _ in shown.tags}, path
        assert not [name for _, attributes in shown.tags for name in attributes if name.startswith("on")], path
        assert all(link.startswith(("/", "?", "#")) for link in shown.links), path
        seen.add(path)
        left += [link for link in shown.links if link.startswith(("/_sandbox/ui", "/?")) and link not in {*seen, *left}]
    assert len(seen) > 15
    for name in ("people", "segments", "objects", "collections"):
        assert EVIL in page(client, f"{UI}/{name}").text, name


def test_requests_over_time() -> None:
    def request(at: float, status: int | None = 200, operations: int = 10) -> dict[str, object]:
        return {"time": at, "status": status, "operations": operations}

    assert rates([]).bars == []
    short = rates([request(100.2), request(100.9, 500), request(102.1, None)])
    assert short.seconds == 1
    assert [(bar.start, bar.requests, bar.failed, bar.operations) for bar in short.bars] == [
        (100, 2, 1, 20),
        (101, 0, 0, 0),
        (102, 1, 1, 10),
    ]
    for span in (58, 59, 3600, 86_400, 10_000_000):
        long = rates([request(1000.5), request(1000.4 + span / 2), request(1000.5 + span)])
        assert len(long.bars) <= 60
        assert sum(bar.requests for bar in long.bars) == 3
        assert long.bars[-1].start <= 1000.5 + span < long.bars[-1].start + long.seconds


MANY = 100_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """100,000 people, all in one segment."""
    path = tmp_path_factory.mktemp("many") / "state.sqlite"
    store = Store(path)
    with store.transaction():
        store.run(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO people (cio_id, id, email, email_key, attributes, set_at, created_at, updated_at)"
            " SELECT printf('%012x', i), 'cus_' || i, 'u' || i || '@example.com', 'u' || i || '@example.com',"
            " '{\"plan\":\"pro\"}', '{}', 1, 1 FROM n",
            MANY,
        )
        store.run("INSERT INTO segments (name, description, type, created_at, updated_at) VALUES ('all', '', 'manual', 1, 1)")
        store.run("INSERT INTO segment_members SELECT 1, cio_id FROM people")
    store.close()
    with run_sandbox(state=path) as sandbox:
        yield Client(sandbox.url)


def test_a_hundred_thousand_people_are_paged_and_found(many: Client) -> None:
    started = time.monotonic()
    first = page(many, f"{UI}/people")
    assert "100,000 people." in first.text
    assert "Page 1 of 2,000" in first.text
    assert first.text.count("@example.com") == 50
    assert "?page=2" in first.links
    assert "cus_51 " in page(many, f"{UI}/people?page=2").text
    assert "cus_100000 " in page(many, f"{UI}/people?page=2000").text
    assert "Page 2,000 of 2,000" in page(many, f"{UI}/people?page=999999").text
    assert "Page 1 of 2,000" in page(many, f"{UI}/people?page=x").text
    found = page(many, f"{UI}/people?q=U77777@example")
    assert "1 found." in found.text
    assert "cus_77777" in found.text
    some = page(many, f"{UI}/people?q=cus_123")
    assert "111 found." in some.text
    assert "?page=2&q=cus_123" in some.links
    assert "cus_123" in page(many, f"{UI}/people?page=2&q=cus_123").text
    assert "Page 2,000 of 2,000" in page(many, f"{UI}/segments/1?page=2000").text
    # A page takes some milliseconds, a search a few hundred: this is far off only where all rows are made into text.
    assert time.monotonic() - started < 30
