"""READ BACK: accepted is not applied. What Customer.io holds is compared with the snapshot, and what differs goes back to pending.

Customer.io answers 200 to much that it then does not do: an identifier that belongs to somebody else, an unknown `cio_id`, a suppressed
person, `_update` of somebody who does not exist, an update that came late. So after a run the App API is asked, within a budget:

| Spec | looked at | by |
|---|---|---|
| Person | a sample of what the run wrote and removed, and all whom a failed change names | attributes, 100 people a call |
| Device | a sample of what the run wrote and removed | the owners' attributes, 100 people a call |
| Event | failed events (there is no call that finds an event by its id) | activities |
| Collection | all rows | content |
| ManualSegment | all members | membership, 30,000 a call |
| Object | a sample of what the run wrote and removed | attributes, one object a call |
| Relationship | a sample of what the run wrote and removed, and failed changes | a person's relationships, one person a call |

When an accepted change becomes visible is not documented: what differs is looked at again, until it does not or `settle` seconds have passed
since it was accepted.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl

from cio_dagster.checks import compare
from cio_dagster.deliver import Client, Connection, Traffic, run_async
from cio_dagster.deliver import reading as read
from cio_dagster.deliver.reading import FAILURE, Reader
from cio_dagster.errors import LockedError
from cio_dagster.prepare.columns import INTERNAL
from cio_dagster.specs import AnySpec, Collection, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.state import AssetState, StateInfo

DIFFERENCE = pl.Schema(dict.fromkeys(["_key", "what", "field", "expected", "found", "reason"], pl.String()))
"""`what` is person, device, event, row, member, object or relationship. `expected` is JSON text, as it was sent; `found` is what the App
API shows; both are null where the whole is missing or too much. `reason`:

| | |
|---|---|
| `missing` | it is not there |
| `person_missing` | nor is the person whose it is, or who it is |
| `segment_missing`, `collection_missing` | it is gone as a whole |
| `differs` | the attribute `field` has another value |
| `still_there` | its removal was accepted, and yet it is there |
| `unexpected_row` | a collection has a row that was never sent |
| an activity's type | Customer.io says so: `failed_event`, `failed_attribute_change`, ... |
"""

TOO_MUCH = ("still_there", "unexpected_row")
"""Reasons of what is to be removed, not sent."""

SHARE = 0.8
"""Of the App API's rate, what read-backs take: others call it too, and requests that are late bunch up."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds between two looks at what differs; doubled each time."""


@dataclass(frozen=True)
class Look:
    """How hard a read-back looks.

    sample
        The most rows of one partition, written by the run, and as many removed, that are read back. People and devices take a
        hundredth of a request each; objects and relationships a whole one, so of those at most a quarter of `max_requests`. Of an `update_only`
        sync as many as half the budget allows, as only reading tells whether a person exists.
    max_requests
        The most App API requests in all.
    settle
        Seconds after acceptance within which a difference may still go away by itself.
    lookback
        Seconds before the run from which failed changes and events are looked for: those that came to light late. An activity never
        counts against what was accepted after it.
    clock_skew
        Seconds by which Customer.io's clock may be behind this machine's.
    """

    sample: int = 500
    max_requests: int = 100
    settle: float = 30.0
    lookback: float = 3600.0
    clock_skew: float = 2.0


@dataclass(frozen=True)
class ReadBack:
    """What was found.

    differences
        Schema DIFFERENCE; one row for each attribute that differs, or for each row that is missing or too much.
    looked_at
        How many `rows` were read back, of how many `written` by the run; how many `removed` ones; and `failures`, the activities of failed
        changes seen. For a collection and a segment also what Customer.io counts: `found_rows`, `found_bytes`, `found_members`.
    notes
        What could not be looked at, or not be put back, and why.
    """

    differences: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DIFFERENCE))
    looked_at: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    notes: list[str] = field(default_factory=list)
    put_back: bool = True
    """Whether what differs is pending again."""

    @property
    def keys(self) -> pl.Series:
        """The keys that differ."""
        return self.differences["_key"].unique(maintain_order=True)


def read_failures(spec: AnySpec, connection: Connection, since: datetime, look: Look | None = None) -> tuple[pl.DataFrame, int]:
    """The failed changes and events that Customer.io logged for this kind of sync, and the requests that took.

    To be read once for many partitions of a run, and given to `read_back` of each.
    """
    look = look or Look()
    types, start = read.failure_types(spec), (since - timedelta(seconds=look.lookback)).timestamp()
    if not types:
        return pl.DataFrame(schema=FAILURE), 0

    async def call() -> tuple[pl.DataFrame, int]:
        async with Client(_gentle(connection), Traffic()) as client:
            reader = Reader(client, look.max_requests)
            return await read.failures(reader, types, start), reader.requests

    return run_async(call)


def read_back(
    spec: AnySpec,
    state: AssetState,
    connection: Connection,
    *,
    since: datetime,
    run_id: str,
    look: Look | None = None,
    failures: pl.DataFrame | None = None,
) -> ReadBack:
    """Compare what Customer.io holds with what it accepted since a time, and put what differs back to pending.

    since
        When the run began (aware; see `Report.since`).
    run_id
        The run that the outcomes are put down to.
    failures
        From `read_failures`, where they were read already.

    A row that differs is taken out of the snapshot, so that the next run sends it again whole; a mirror takes it for unsettled too, so that it
    is removed if the source does not have it: that is how a removal that did not happen is tried again. Raises DeliveryError where Customer.io
    cannot be read (CredentialsRefused without an App API key), and StateError.
    """
    look = look or Look()
    info = state.info()
    snapshot = state.snapshot()
    if info is None or snapshot is None:
        return ReadBack(notes=["There is no snapshot yet."])
    requests = 0
    if failures is None:
        failures, requests = read_failures(spec, connection, since, look)
    believed = _believed(spec, state, snapshot, since, failures, look)
    left = max(look.max_requests - requests, 0)

    async def call() -> tuple[pl.DataFrame, dict[str, int], set[str], int]:
        async with Client(_gentle(connection), Traffic()) as client:
            reader = Reader(client, left)
            differences, counted = await _settled(reader, spec, believed, look)
            return differences, counted, reader.cut, reader.requests

    differences, counted, cut, made = run_async(call)
    differences = _with_failures(differences, believed, spec)
    looked_at = {**believed.counts, **counted, "failures": len(failures)}
    notes = [
        f"Not all {each} were read: that takes more than max_requests={look.max_requests} requests." for each in sorted(cut)
    ]
    unnamed = failures.filter(pl.col("object_id").is_null()).height if isinstance(spec, Object) else 0
    if unnamed:
        notes.append(f"Customer.io logged {unnamed:,} failed changes of objects without saying of which.")
    kept_out = None if differences.is_empty() else _put_back(spec, state, info, differences, run_id)
    if kept_out:
        notes.append(f"Nothing was put back: {kept_out}")
    return ReadBack(differences, looked_at, requests + made, notes, put_back=kept_out is None)


def _gentle(connection: Connection) -> Connection:
    return replace(connection, app_requests_per_second=connection.app_requests_per_second * SHARE)


@dataclass(frozen=True)
class _Believed:
    """What is to be found: `rows` of the snapshot, and `removed` keys with identifiers; `blamed` (`_key`, `type`, `data`) by activities."""

    rows: pl.DataFrame
    removed: pl.DataFrame
    blamed: pl.DataFrame
    data: list[str]
    counts: dict[str, int]
    last: datetime | None


def _believed(
    spec: AnySpec, state: AssetState, snapshot: pl.LazyFrame, since: datetime, failures: pl.DataFrame, look: Look
) -> _Believed:
    own = {f"_{name}" for name in spec.fields}
    columns = snapshot.collect_schema().names()
    data = [name for name in columns if name not in INTERNAL or (name in own and isinstance(spec, Device))]
    written = snapshot.filter(pl.col("_accepted_at") >= since)
    blamed = _blamed(spec, snapshot, failures, look)
    removed = _removed(spec, state, snapshot, since)
    if isinstance(spec, Event):
        rows, data = snapshot.clear().collect(), []
    elif isinstance(spec, ManualSegment):
        rows = snapshot.select("_key", "_person", "_accepted_at").collect(engine="streaming")
    elif isinstance(spec, Collection):
        rows = snapshot.select("_key", *data, "_accepted_at").collect(engine="streaming")
    else:
        most = _sample_size(spec, look)
        sampled = written.select("_key", _order=pl.col("_key").hash(time.time_ns())).bottom_k(most, by="_order").select("_key")
        keys = pl.concat([sampled.collect(engine="streaming"), blamed.select("_key")]).unique()
        rows = snapshot.join(keys.lazy(), on="_key", how="semi").collect(engine="streaming")
        removed = removed.sample(min(most, len(removed)))
    times = pl.concat([rows["_accepted_at"], removed["time"]])
    return _Believed(
        rows,
        removed,
        blamed,
        data,
        {
            "rows": len(rows),
            "written": written.select(pl.len()).collect(engine="streaming").item(),
            "removed": len(removed),
        },
        times.max(),  # type: ignore[arg-type]
    )


def _sample_size(spec: AnySpec, look: Look) -> int:
    if isinstance(spec, (Object, Relationship)):
        return min(look.sample, look.max_requests // 4)
    if isinstance(spec, Person) and spec.behavior == "update_only":
        return max(look.sample, look.max_requests // 2 * read.PEOPLE_A_CALL)
    return look.sample


def _removed(spec: AnySpec, state: AssetState, snapshot: pl.LazyFrame, since: datetime) -> pl.DataFrame:
    """The rows whose removal was accepted since a time, and that were not sent again: `_key`, `time` and identifiers."""
    roles = spec.sync_key
    rows = state.outcomes().filter(operation="delete", outcome="accepted").filter(pl.col("time") >= since)
    keys = rows.select(pl.col("key").alias("_key"), "time").unique("_key", keep="last")
    keys = keys.join(snapshot.select("_key"), on="_key", how="anti")
    if isinstance(spec, (Event, Collection)):
        return keys.clear().collect()
    if len(roles) == 1:
        return keys.with_columns(pl.col("_key").alias(f"_{roles[0]}")).collect(engine="streaming")
    parts = pl.col("_key").str.json_decode(pl.List(pl.String))
    return keys.with_columns(parts.list.get(place).alias(f"_{role}") for place, role in enumerate(roles)).collect(
        engine="streaming"
    )


def _blamed(spec: AnySpec, snapshot: pl.LazyFrame, failures: pl.DataFrame, look: Look) -> pl.DataFrame:
    """The rows that failed changes and events are about, and that were accepted no later than those: `_key`, `type`, `data`."""
    if failures.is_empty() or isinstance(spec, (Collection, Device, ManualSegment)):
        return pl.DataFrame(schema={"_key": pl.String, "type": pl.String, "data": pl.String})
    accepted = snapshot.with_columns(_second=pl.col("_accepted_at").dt.epoch("s"))
    if isinstance(spec, Object):
        named = failures.filter(pl.col("object_id").is_not_null()).lazy()
        joined = accepted.join(named, left_on="_object", right_on="object_id")
    else:
        kind = spec.identifiers["person"].kind
        named = failures.explode(kind).filter(pl.col(kind).is_not_null()).lazy()
        person = pl.col("_person").str.to_lowercase() if kind == "email" else pl.col("_person")
        joined = accepted.with_columns(_who=person).join(named, left_on="_who", right_on=kind)
    if isinstance(spec, Relationship):
        joined = joined.filter(pl.col("object_id").is_null() | (pl.col("object_id") == pl.col("_object")))
    if isinstance(spec, Event):
        name = pl.col("_name").str.json_decode(pl.String) if spec.name_column else pl.lit(spec.name)
        joined = joined.filter(pl.col("name").is_null() | (pl.col("name") == name), pl.col("_status") == "accepted")
    late = joined.filter(pl.col("time") >= pl.col("_second") - look.clock_skew)
    return late.sort("time").unique("_key", keep="last").select("_key", "type", "data").collect(engine="streaming")


async def _settled(reader: Reader, spec: AnySpec, believed: _Believed, look: Look) -> tuple[pl.DataFrame, dict[str, int]]:
    """Look, and look again at what differs until it no longer may go away by itself."""
    differences, seen, counted = await _look(reader, spec, believed)
    until = (believed.last or datetime.fromtimestamp(0, timezone.utc)) + timedelta(seconds=look.settle)
    pause = FIRST_PAUSE
    while not differences.is_empty() and reader.left and (left := (until - datetime.now(timezone.utc)).total_seconds()) > 0:
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE)
        again = believed
        if not isinstance(spec, (Collection, ManualSegment)):
            doubtful = differences.select("_key").unique()
            again = replace(
                believed,
                rows=believed.rows.join(doubtful, on="_key", how="semi"),
                removed=believed.removed.join(doubtful, on="_key", how="semi"),
            )
        cut = set(reader.cut)
        found, seen, _ = await _look(reader, spec, again)
        # What a spent budget kept from being seen again stays as it was.
        differences = pl.concat([differences.join(seen, on="_key", how="anti"), found])
        reader.cut = cut
    return differences, counted


async def _look(reader: Reader, spec: AnySpec, believed: _Believed) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """One look: the differences, the keys that were seen (`_key`), and what Customer.io counts."""
    if isinstance(spec, Event):
        return pl.DataFrame(schema=DIFFERENCE), pl.DataFrame(schema={"_key": pl.String}), {}
    if isinstance(spec, Collection):
        return await _look_at_collection(reader, spec, believed)
    counted: dict[str, int] = {}
    values = pl.DataFrame(schema=compare.VALUE)
    keys = pl.concat([believed.rows, believed.removed], how="diagonal").select("_key", pl.col("^_(person|object|token)$"))
    if keys.is_empty():
        return pl.DataFrame(schema=DIFFERENCE), keys.select("_key"), {}
    match spec:
        case ManualSegment():
            seen, counted = await _see_members(reader, spec, keys)
        case Object():
            found = await read.objects(reader, keys["_object"].to_list(), spec.object_type_id)
            seen = keys.join(_presence(found, "_object", "missing"), on="_object")
            values = compare.values_of(found).join(keys, left_on="_id", right_on="_object").select(compare.VALUE.names())
        case Relationship():
            seen = await _see_relationships(reader, spec, keys)
        case Person() | Device():
            kind = spec.key
            people = await read.people(reader, keys["_person"].unique(maintain_order=True).to_list(), kind)
            seen = keys.join(_presence(people, "_person", "person_missing"), on="_person")
            if isinstance(spec, Device):
                devices = compare.devices_of(people)
                there = devices.select(_person="_id", _token="_token", _there=True).unique()
                seen = seen.join(there, on=["_person", "_token"], how="left").with_columns(
                    _absent=pl.coalesce("_absent", pl.when(pl.col("_there").is_null()).then(pl.lit("missing")))
                )
                values = devices.join(keys, left_on=["_id", "_token"], right_on=["_person", "_token"])
            else:
                seen = seen.with_columns(_absent=pl.col("_absent").replace({"person_missing": "missing"}))
                values = compare.values_of(people).join(keys, left_on="_id", right_on="_person")
            values = values.select(compare.VALUE.names())
    seen = seen.select("_key", "_absent")
    return (
        compare.judge(believed.rows, believed.removed, seen, values, believed.data, _what(spec)),
        seen.select("_key"),
        counted,
    )


async def _see_members(reader: Reader, spec: ManualSegment, keys: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    members, count = await read.members(reader, spec)
    nobody = keys.clear().with_columns(_absent=pl.lit(None, dtype=pl.String))
    if count is None:
        return keys.with_columns(_absent=pl.lit("segment_missing")), {}
    if members is None:
        return nobody, {}
    if members.is_empty() and count:
        # Members show those identifiers that the workspace has; an email only if it is one.
        reader.cut.add(f"members by {spec.key}")
        return nobody, {"found_members": count}
    there = keys.join(members.with_columns(_there=pl.lit(True)), on="_key", how="left")
    absent = pl.when(pl.col("_there").is_null()).then(pl.lit("missing"))
    return there.with_columns(_absent=absent), {"found_members": count}


async def _see_relationships(reader: Reader, spec: Relationship, keys: pl.DataFrame) -> pl.DataFrame:
    people = keys["_person"].unique(maintain_order=True).to_list()
    found = await read.relationships(reader, people, spec.key, spec.object_type_id)
    pairs = [(person, each, True) for person, related in found.items() for each in related or ()]
    there = pl.DataFrame(pairs, schema={"_person": pl.String, "_object": pl.String, "_there": pl.Boolean}, orient="row")
    seen = keys.join(_presence(found, "_person", "person_missing"), on="_person")
    return seen.join(there, on=["_person", "_object"], how="left").with_columns(
        _absent=pl.coalesce("_absent", pl.when(pl.col("_there").is_null()).then(pl.lit("missing")))
    )


async def _look_at_collection(
    reader: Reader, spec: Collection, believed: _Believed
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    keys = believed.rows.select("_key")
    try:
        found = await read.collection(reader, spec)
    except read.BudgetSpent:
        reader.cut.add("rows")
        return pl.DataFrame(schema=DIFFERENCE), keys.clear(), {}
    if found is None:
        # One that has no rows is missed as well.
        lost = (keys if len(keys) else pl.DataFrame({"_key": [spec.identity["collection"]]})).with_columns(
            what=pl.lit("row"), reason=pl.lit("collection_missing")
        )
        return pl.concat([pl.DataFrame(schema=DIFFERENCE), lost], how="diagonal"), lost.select("_key"), {}
    meta, content = found
    expected = compare.content_of(believed.rows, believed.data)
    surplus = Counter(compare.canonical(row) for row in content)
    differences: list[dict[str, str | None]] = []
    for key, text in expected.iter_rows():
        same = compare.canonical(json.loads(text))
        if surplus[same]:
            surplus[same] -= 1
        else:
            differences.append({"_key": key, "what": "row", "expected": text, "reason": "missing"})
    for place, same in enumerate(surplus.elements()):
        differences.append({"_key": f"unexpected#{place}", "what": "row", "found": same, "reason": "unexpected_row"})
    counted = {"found_rows": len(content), "found_bytes": int(meta.get("bytes") or 0)}
    return pl.DataFrame(differences, schema=DIFFERENCE), pl.DataFrame({"_key": [each["_key"] for each in differences]}), counted


def _presence(found: dict[str, Any], name: str, reason: str) -> pl.DataFrame:
    """Whether each value asked for is there: `_absent` is null, or the reason."""
    rows = [(value, None if each is not None else reason) for value, each in found.items()]
    return pl.DataFrame(rows, schema={name: pl.String, "_absent": pl.String}, orient="row")


def _with_failures(differences: pl.DataFrame, believed: _Believed, spec: AnySpec) -> pl.DataFrame:
    """Customer.io's own word for what differs; and what only it can know, which nothing read could confirm or deny."""
    blamed = believed.blamed.rename({"data": "_data"})
    named = differences.join(blamed, on="_key", how="left").with_columns(
        reason=pl.when(pl.col("reason").is_in(TOO_MUCH)).then("reason").otherwise(pl.coalesce("type", "reason"))
    )
    named = named.select(DIFFERENCE.names())
    if not isinstance(spec, (Event, Relationship)):
        return named
    unseen = blamed.join(differences, on="_key", how="anti").select(
        "_key", what=pl.lit(_what(spec)), found=pl.col("_data"), reason=pl.col("type")
    )
    return pl.concat([named, unseen], how="diagonal").select(DIFFERENCE.names())


def _put_back(spec: AnySpec, state: AssetState, info: StateInfo, differences: pl.DataFrame, run_id: str) -> str | None:
    """Make what differs pending again. Where that is not possible, say why: another run writes, or has written since it was read."""
    try:
        with state.lock(run_id):
            current = state.info()
            if state.plan() is not None or current is None or current.sequence != info.sequence:
                return "another run has written meanwhile."
            _make_pending(spec, state, differences, run_id)
    except LockedError as error:
        return str(error)
    return None


def _make_pending(spec: AnySpec, state: AssetState, differences: pl.DataFrame, run_id: str) -> None:
    keys = differences.select("_key").unique(maintain_order=True)
    # A mirror must not lose sight of what may be there: it is removed if the source no longer has it.
    unsettled = _identified(spec, keys) if spec.removes else None
    lines = differences.select(
        run_id=pl.lit(run_id),
        asset=pl.lit(state.asset),
        partition=pl.lit(state.partition, dtype=pl.String),
        key="_key",
        operation=pl.lit("read_back"),
        outcome=pl.lit("pending"),
        reason="reason",
        field=pl.col("field").fill_null(""),
        message=pl.when(pl.col("field").is_not_null())
        .then(pl.format("{} was accepted, but Customer.io has {}", _short("expected"), _short("found")))
        .otherwise(pl.col("reason").replace_strict(MESSAGES, default="Customer.io logged that it was not applied")),
        time=pl.lit(datetime.now(timezone.utc)).cast(pl.Datetime("us", "UTC")),
        # The row was counted where it was accepted.
        rows=pl.lit(0, dtype=pl.Int32),
    )
    state.put_back(keys["_key"], unsettled, lines, run_id=run_id)


MESSAGES = {
    "missing": "it was accepted, but Customer.io does not have it",
    "person_missing": "it was accepted, but Customer.io does not have the person",
    "segment_missing": "the segment is gone",
    "collection_missing": "the collection is gone",
    "still_there": "its removal was accepted, but Customer.io has it still",
    "unexpected_row": "the collection has a row that was never sent",
}


def _identified(spec: AnySpec, keys: pl.DataFrame) -> pl.DataFrame:
    if isinstance(spec, Collection):
        return keys
    if len(spec.sync_key) == 1:
        return keys.with_columns(pl.col("_key").alias(f"_{spec.sync_key[0]}"))
    parts = pl.col("_key").str.json_decode(pl.List(pl.String))
    return keys.with_columns(parts.list.get(place).alias(f"_{role}") for place, role in enumerate(spec.sync_key))


def _short(name: str) -> pl.Expr:
    return pl.col(name).fill_null("nothing").str.slice(0, 100)


def _what(spec: AnySpec) -> str:
    return {"segment": "member", "collection": "row"}.get(spec.object, spec.object)


def add_up(found: Iterable[ReadBack]) -> dict[str, int]:
    """What several read-backs looked at, in all."""
    total: Counter[str] = Counter()
    for each in found:
        total.update(each.looked_at)
    return dict(total)
