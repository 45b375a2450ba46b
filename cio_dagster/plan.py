"""PLAN: the operations of one run, on disk before anything is sent.

A plan is the preview, the unit that guards judge, and the redo log. Its folder holds

    operations-*.parquet one row an operation, in the order of sending over all files, by name; a row's place is its position
    rejected-*.parquet   source rows that cannot be sent: _row, _key, _reject
    baseline.parquet     what Customer.io was found to hold, where that was read from it instead of the snapshot
    identity.parquet     people whose identifiers clash (see `cio_dagster.prepare.identity`), where there are any
    times.parquet        of an incremental read, the time of each source row (see `cio_dagster.incremental`): _row, _time
    dtypes.parquet       no rows: what the JSON text of each attribute reads back to
    plan.json            what the plan is for and its counts; written last, so a folder without it is no plan
    answers.jsonl        one line for each answered request, appended as they come (see `cio_dagster.answers`)

The operations have the columns of prepared rows as they will be in Customer.io, and `_operation`, `_changes` (before and after of each
changed attribute, as JSON) and `_body` (the JSON that is sent; null where nothing is).

| `_operation` | what | a request |
|---|---|---|
| `left_out` | an event from before the start of the sync | no |
| `delete` | the row is removed | yes (not for a collection's row) |
| `keep` | an unchanged row of a collection that is replaced | yes |
| `create`, `update`, `send` | the row is written | yes |
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from cio_dagster.diff import diff
from cio_dagster.hashes import KEY_HASH, ROW_HASH, differing, key_hash, repeated, row_hash, write_hashes
from cio_dagster.incremental import Read, read_of, row_times
from cio_dagster.limits import CAMPAIGN_WINDOW_SECONDS, OPERATION_BYTES
from cio_dagster.operations import body_limit, removal_body, write_body
from cio_dagster.parts import GROUP_ROWS, Part, parts
from cio_dagster.places import StorePath
from cio_dagster.prepare import Prepared, duplicate_rejects, prepare
from cio_dagster.prepare.columns import NEW
from cio_dagster.prepare.identifiers import sync_keys
from cio_dagster.prepare.identity import PROBLEMS, identity_problems
from cio_dagster.prepare.rejects import numbered
from cio_dagster.specs import AnySpec, Collection, Event, Person

STAGED, DOUBLES, KNOWN = "staged.parquet", "doubles.parquet", "known.parquet"
"""While a plan is being made: the prepared rows, those of them that share a key, and the hashes of what is known."""

FORMAT = 2
"""The version of this layout."""

TIMES = "times.parquet"
OPERATIONS, REJECTED, BASELINE, IDENTITY, DTYPES, MANIFEST, ANSWERS = (
    "operations-*.parquet",
    "rejected-*.parquet",
    "baseline.parquet",
    "identity.parquet",
    "dtypes.parquet",
    "plan.json",
    "answers.jsonl",
)


@dataclass(frozen=True)
class Counts:
    """Rows by what the plan does with them.

    source = not_chosen + rejected + unchanged + left_out + create + update + send + keep.
    """

    source: int = 0
    not_chosen: int = 0
    """Rows that have none of the keys that the plan was to be made for."""
    rejected: int = 0
    unchanged: int = 0
    left_out: int = 0
    create: int = 0
    update: int = 0
    send: int = 0
    keep: int = 0
    delete: int = 0
    known: int = 0
    """Rows that are, or may be, in Customer.io: of the baseline, and unsettled ones."""
    old_events: int = 0
    """Events to be sent that are too old to set off campaigns."""
    future_events: int = 0
    """Events to be sent whose time is in the future, which Customer.io does not document."""
    changed: int = 0
    """Of the updates, rows of which attributes have changed; the others are only sent again."""


@dataclass(frozen=True)
class Plan:
    """A plan on disk."""

    folder: Path
    run_id: str
    sequence: int
    """Counts the plans of one asset partition, so that a commit can tell whether it was made already."""
    made_at: str
    counts: Counts
    format: int = FORMAT
    spec: dict[str, Any] = field(default_factory=dict)
    replaces: bool = False
    """Whether a collection is to be written even if it has no rows: it is not known to be there, or not what is in it."""
    versions: dict[str, int] | None = None
    """The Delta versions of the state's tables that the plan was made on; None where that is not to be checked."""
    limit: int | None = None
    """The most operations that are to be sent of it; None for all."""
    unknown_keys: list[str] = field(default_factory=list)
    """Keys that the plan was to be made for and that are neither in the source nor known."""
    chosen: bool = False
    """Whether it is made for the rows with some keys alone."""
    read: Read | None = None
    """What was read of the source, where that is incremental."""
    files: str = ""
    """Where its files are, from its manifest: in an object store each plan has a folder of its own, in which no other run writes."""
    copied_to: StorePath | None = None
    """That folder, to which its answers are copied as they come."""

    @property
    def partial(self) -> bool:
        """Whether only some rows of the source were read, so that others are not gone."""
        return self.read is not None and self.read.partial

    @property
    def planned(self) -> int:
        """Operations that need a request."""
        counts = self.counts
        return counts.create + counts.update + counts.send + counts.keep + counts.delete

    @property
    def deferred(self) -> int:
        """Of these, those that the limit leaves for the next run: the last ones."""
        return 0 if self.limit is None else max(self.planned - self.limit, 0)

    @property
    def stop(self) -> int:
        """The position after the last operation that is to be sent."""
        return self.counts.left_out + self.planned - self.deferred

    def operations(self) -> pl.LazyFrame:
        """The operations, with `_position` (UInt32)."""
        return pl.scan_parquet(self.operations_paths).with_row_index("_position")

    @property
    def operations_paths(self) -> list[Path]:
        """The files of the operations, in their order."""
        return sorted(self.folder.glob(OPERATIONS))

    def rejected(self) -> pl.LazyFrame:
        """The rows that cannot be sent: `_row`, `_key`, `_reject`."""
        return pl.scan_parquet(self.folder / REJECTED)

    def baseline(self) -> pl.LazyFrame | None:
        """What was read from Customer.io to compare with, or None where that was the snapshot."""
        path = self.folder / BASELINE
        return pl.scan_parquet(path) if path.exists() else None

    def identity_problems(self) -> pl.LazyFrame | None:
        """People who are sent though their identifiers clash: `_row`, `_key`, `problem`, `field`, `message`. None where there are none."""
        path = self.folder / IDENTITY
        return pl.scan_parquet(path).join(self.rejected(), on="_row", how="anti") if path.exists() else None

    @property
    def times_path(self) -> Path:
        """The time of each row of an incremental read."""
        return self.folder / TIMES

    @property
    def answers_path(self) -> Path:
        """The log of answered requests."""
        return self.folder / ANSWERS


def make_plan(
    frame: pl.LazyFrame,
    spec: AnySpec,
    folder: Path,
    *,
    snapshot: pl.LazyFrame | None,
    baseline: pl.DataFrame | None,
    unsettled: pl.LazyFrame | None = None,
    run_id: str,
    sequence: int,
    now: datetime,
    start: datetime | None,
    operation_bytes: int = OPERATION_BYTES,
    full_resync: bool = False,
    versions: dict[str, int] | None = None,
    read: Read | None = None,
    only_keys: Sequence[str] | None = None,
    limit: int | None = None,
) -> Plan:
    """Write the plan that makes Customer.io equal to `frame`, and read nothing from the network.

    snapshot
        What Customer.io accepted before (see `cio_dagster.state`); None before the first run.
    baseline
        Where the spec says baseline="customerio": `_key` and identifiers of all that is there now.
    unsettled
        `_key` and identifiers of rows that earlier plans may have changed in Customer.io or not, because no answer came: they are sent
        whole, or removed. Of a collection, any frame says that all of it is.
    start
        Events from before this time (aware) are left out; None sends all. Events without times are left out where it is later
        than they can be known to be: on a first run.
    read
        What was read of the source, where that is incremental: of a partial read nothing is removed.
    only_keys
        Plan only the rows with these sync keys. Others are counted, and neither sent nor removed nor recorded.
    limit
        The most operations that are to be sent (see `Plan.stop`).
    Raises SpecError where the frame does not fit the spec.
    """
    if folder.exists():
        (folder / MANIFEST).unlink(missing_ok=True)  # First: a folder without it is no plan.
        shutil.rmtree(folder)
    folder.parent.mkdir(exist_ok=True, parents=True, mode=0o700)
    folder.mkdir(mode=0o700)
    keys = None if only_keys is None else sync_keys(spec, only_keys)
    if read is not None:
        row_times(frame, read.column).sink_parquet(folder / TIMES)
    staged = folder / STAGED
    prepared = _without_doubles(_stage(prepare(frame, spec), spec, staged), spec, folder)
    compared = snapshot
    if baseline is not None:
        compared = _of_keys(_with_snapshot(baseline.lazy(), snapshot), keys)
        if keys is not None and snapshot is not None:
            # A commit takes this for the snapshot, of which the rest is to stay as it is.
            compared = pl.concat([snapshot.filter(~pl.col("_key").is_in(keys)), compared], how="diagonal")
        compared.sink_parquet(folder / BASELINE)
        compared = pl.scan_parquet(folder / BASELINE)
    removes = spec.removes and (read is None or not read.partial)
    touched = None
    if compared is not None and not isinstance(spec, Collection):
        touched = _touched(prepared, spec, compared, folder, removes=removes)
    if isinstance(spec, Person):
        prepared = _check_identities(prepared, spec, snapshot, touched, folder, keys)

    # Guards judge by all that is known. The rows of a collection are as a whole what is not, if that is so.
    known = _known(snapshot if baseline is None else baseline.lazy(), None if isinstance(spec, Collection) else unsettled)
    resent = None if full_resync and not isinstance(spec, Event) else touched
    if keys is not None:
        prepared = replace(prepared, rows=_of_keys(prepared.rows, keys))
        compared = None if compared is None else _of_keys(compared, keys)
        unsettled = None if unsettled is None else _of_keys(unsettled, keys)
        resent = pl.DataFrame({"_key": keys}).select(_key_hash=key_hash())
    most_bytes = body_limit(spec, operation_bytes)
    prepared.rejected.sink_parquet(folder / REJECTED.replace("*", "0"))
    for number, part in enumerate(_parts(prepared, spec, compared, unsettled, resent, staged)):
        ready = replace(prepared, rows=part.rows)
        if isinstance(spec, Event):
            planned = _event_operations(ready, spec, part.baseline, start, first=compared is None)
        elif isinstance(spec, Collection):
            planned = _collection_operations(ready, spec, part.baseline, part.unsettled, full_resync)
        else:
            planned = _operations(ready, spec, part.baseline, part.unsettled, full_resync, removes=removes)
        _write(planned, prepared, most_bytes, folder, number)

    pl.DataFrame(schema=prepared.dtypes).write_parquet(folder / DTYPES)

    counts = _count(folder, prepared, known, keys, spec, now, resent=full_resync or unsettled is not None)
    replaces = isinstance(spec, Collection) and (compared is None or unsettled is not None)
    plan = Plan(
        folder,
        run_id,
        sequence,
        now.isoformat(),
        counts,
        spec=spec.model_dump(mode="json"),
        replaces=replaces,
        versions=versions,
        read=read,
        limit=limit,
        unknown_keys=[] if keys is None else _unknown(keys, folder, known),
        chosen=keys is not None,
    )
    for name in (STAGED, DOUBLES, KNOWN):
        (folder / name).unlink(missing_ok=True)
    _write_manifest(plan)
    return plan


def bring_forward(plan: Plan, keys: pl.LazyFrame) -> Plan:
    """The same plan, with the operations of some rows (`_key`) before all others that need a request, and limited to them."""
    partial = plan.folder / "ordered.partial"
    operations, keys = pl.scan_parquet(plan.operations_paths), keys.collect(engine="streaming").lazy()
    no_request = pl.col("_operation") == "left_out"
    sent = operations.filter(~no_request)
    first = sent.join(keys, on="_key", how="semi")
    ordered = pl.concat([operations.filter(no_request), first, sent.join(keys, on="_key", how="anti")])
    ordered.sink_parquet(partial, row_group_size=GROUP_ROWS)
    limited = replace(plan, limit=int(first.select(pl.len()).collect(engine="streaming").item()))
    (plan.folder / MANIFEST).unlink()
    for path in plan.operations_paths:
        path.unlink()
    partial.rename(plan.folder / OPERATIONS.replace("*", "0-00000"))
    _write_manifest(limited)
    return limited


def read_manifest(text: str | bytes, folder: Path) -> Plan:
    """The plan whose files are, or are to be, in the manifest's folder, or where it says from there."""
    manifest = json.loads(text)
    read = read_of(manifest.get("read"))
    return Plan(folder=folder / manifest.get("files", ""), **manifest | {"counts": Counts(**manifest["counts"]), "read": read})


def _stage(prepared: Prepared, spec: AnySpec, path: Path) -> Prepared:
    """Read the source once, to disk."""
    compared = [] if isinstance(spec, Event) else prepared.data
    hashes = {KEY_HASH: key_hash(), ROW_HASH: row_hash(compared)}
    prepared.rows.with_columns(**hashes).sink_parquet(path, row_group_size=GROUP_ROWS, compression="lz4")
    return replace(prepared, rows=pl.scan_parquet(path))


def _without_doubles(prepared: Prepared, spec: AnySpec, folder: Path) -> Prepared:
    """Take out the rows that share a key."""
    rows = prepared.rows
    if isinstance(spec, Collection):
        return prepared
    hashes = repeated(rows.filter(pl.col("_key").is_not_null()).select(KEY_HASH))
    if hashes.is_empty():
        return prepared
    doubles = duplicate_rejects(rows.join(hashes.lazy(), on=KEY_HASH, how="semi"), spec).with_columns(
        key_hash().alias(KEY_HASH)
    )
    doubles.sink_parquet(folder / DOUBLES)
    doubles = pl.scan_parquet(folder / DOUBLES)
    return replace(prepared, rows=pl.concat([rows.join(doubles, on="_row", how="anti"), doubles], how="diagonal"))


def _touched(prepared: Prepared, spec: AnySpec, compared: pl.LazyFrame, folder: Path, *, removes: bool) -> pl.DataFrame:
    """The key hashes of rows that may differ from what is known, and of known ones that may be gone."""
    own = set(compared.collect_schema())
    names = [] if isinstance(spec, Event) else prepared.data
    data = [pl.col(name) if name in own else pl.lit(None, dtype=pl.String).alias(name) for name in names]
    known = write_hashes(compared.select("_key", *data).select(_key_hash=key_hash(), _row_hash=row_hash(names)), folder / KNOWN)
    ready = pl.when(pl.col("_reject").is_null()).then(ROW_HASH).alias(ROW_HASH)
    now = prepared.rows.filter(pl.col("_key").is_not_null()).select(KEY_HASH, ready)
    return differing(now, known, gone=removes)


def _parts(
    prepared: Prepared,
    spec: AnySpec,
    compared: pl.LazyFrame | None,
    unsettled: pl.LazyFrame | None,
    touched: pl.DataFrame | None,
    staged: Path,
) -> Iterable[Part]:
    """What is to be compared, in parts; of a collection, which is replaced whole, all at once."""
    if isinstance(spec, Collection):
        return [Part(prepared.rows, compared, unsettled)]
    if compared is not None and isinstance(spec, Event):
        compared = compared.select("_key")
    return parts(prepared.rows, _hashed(compared), _hashed(unsettled), touched, staged)


def _hashed(rows: pl.LazyFrame | None) -> pl.LazyFrame | None:
    return None if rows is None else rows.with_columns(key_hash().alias(KEY_HASH))


def _check_identities(
    prepared: Prepared,
    spec: Person,
    snapshot: pl.LazyFrame | None,
    touched: pl.DataFrame | None,
    folder: Path,
    keys: list[str] | None,
) -> Prepared:
    """Note the rows whose identifiers clash, and take out those that the spec rejects for that."""
    problems = identity_problems(prepared.ready, prepared.data, spec, snapshot, touched)
    if problems is None:
        return prepared
    _of_keys(problems, keys).sink_parquet(folder / IDENTITY)
    problems = pl.scan_parquet(folder / IDENTITY)
    if problems.select(pl.len()).collect().item() == 0:
        (folder / IDENTITY).unlink()
        return prepared
    why = pl.struct(reason="problem", field="field", message="message")
    rejected = problems.filter(pl.col("problem").is_in([each for each in PROBLEMS if spec.identity_rule(each) == "reject"]))
    # Of several problems, the first.
    rejected = rejected.unique("_row", keep="first", maintain_order=True).select("_row", "_key", _reject=why)
    rejected = rejected.with_columns(key_hash().alias(KEY_HASH)).collect(engine="streaming").lazy()
    if rejected.limit(1).collect().is_empty():
        return prepared
    return replace(prepared, rows=pl.concat([prepared.rows.join(rejected, on="_row", how="anti"), rejected], how="diagonal"))


def _with_snapshot(current: pl.LazyFrame, snapshot: pl.LazyFrame | None) -> pl.LazyFrame:
    if snapshot is None:
        return current
    attributes = snapshot.select(pl.exclude(set(current.collect_schema()) - {"_key"}))
    return current.join(attributes, on="_key", how="left")


def _operations(
    prepared: Prepared,
    spec: AnySpec,
    compared: pl.LazyFrame | None,
    unsettled: pl.LazyFrame | None,
    full_resync: bool,
    *,
    removes: bool,
) -> list[pl.LazyFrame]:
    whole = getattr(spec, "send", "changed") == "all"
    found = diff(prepared, compared, unsettled=unsettled, resend=full_resync, whole=whole)
    body = write_body(spec, prepared.data)
    created = found.created.with_columns(_operation=pl.lit("create"), _body=body)
    if compared is None and unsettled is None:
        return [created]
    planned = [created, found.updated.with_columns(_operation=pl.lit("update"), _body=body)]
    if removes:
        planned.insert(0, found.gone.with_columns(_operation=pl.lit("delete"), _body=removal_body(spec)))
    return planned


def _event_operations(
    prepared: Prepared, spec: Event, ledger: pl.LazyFrame | None, start: datetime | None, *, first: bool
) -> list[pl.LazyFrame]:
    rows = prepared.ready if ledger is None else prepared.ready.join(ledger.select("_key"), on="_key", how="anti")
    rows = rows.drop("_newest", strict=False)
    if start is None:
        early = pl.lit(False)
    elif spec.timestamp is None:
        # Without times, what a first run finds is history, and what later runs find is new.
        early = pl.lit(first)
    else:
        early = pl.col("_timestamp").cast(pl.Int64) < int(start.timestamp())
    sent = rows.filter(~early).with_columns(pl.col(name).alias(NEW + name) for name in prepared.data)
    return [
        rows.filter(early).with_columns(_operation=pl.lit("left_out"), _body=pl.lit(None, dtype=pl.String)),
        sent.with_columns(_operation=pl.lit("send"), _body=write_body(spec, prepared.data)),
    ]


def _collection_operations(
    prepared: Prepared, spec: Collection, compared: pl.LazyFrame | None, unsettled: pl.LazyFrame | None, full_resync: bool
) -> list[pl.LazyFrame]:
    """All rows, in the source's order, if any differ or it is not known what is there; else none."""
    found = diff(prepared, compared)
    created, gone = pl.collect_all([found.created.select("_key"), found.gone.select("_key")], engine="streaming")
    first = compared is None or unsettled is not None
    if created.is_empty() and gone.is_empty() and not full_resync and not first:
        return []
    operation = pl.when(pl.col("_key").is_in(created["_key"].implode())).then(pl.lit("create")).otherwise(pl.lit("keep"))
    rows = prepared.ready.with_columns(pl.col(name).alias(NEW + name) for name in prepared.data)
    return [
        found.gone.with_columns(_operation=pl.lit("delete"), _body=removal_body(spec)),
        rows.with_columns(_operation=operation, _body=write_body(spec, prepared.data)),
    ]


def _write(planned: list[pl.LazyFrame], prepared: Prepared, limit: int, folder: Path, part: int) -> None:
    """Sink a part's operations, a file for each kind, and the rows whose operation is too large, which are rejected."""
    columns = ["_row", "_key", *prepared.identifiers, *prepared.data, "_operation", "_changes", "_body"]
    empty = pl.LazyFrame(schema={"_row": pl.UInt32} | dict.fromkeys(columns[1:], pl.String))
    size = pl.col("_body").str.len_bytes()
    message = numbered("the operation is ", size, f" bytes as JSON; the limit is {limit}")
    too_large = pl.struct(reason=pl.lit("operation_too_large"), field=pl.lit(""), message=message)
    large = (size > limit).fill_null(False) & (pl.col("_operation") != "delete")
    # One after the other: together, Polars 2.1 was seen to hold for one what it read for another.
    for order, kind in enumerate(planned or [empty]):
        rows, name = pl.concat([empty, kind], how="diagonal").select(columns), f"{order}-{part:05}"
        oversized = rows.filter(large).select("_row", "_key", _reject=too_large)
        sinks = [
            rows.filter(~large).sink_parquet(
                folder / OPERATIONS.replace("*", name), row_group_size=GROUP_ROWS, compression="lz4", lazy=True
            ),
            oversized.sink_parquet(folder / REJECTED.replace("*", f"1-{name}"), lazy=True),
        ]
        pl.collect_all(sinks, engine="streaming")


def _count(
    folder: Path,
    prepared: Prepared,
    known: pl.LazyFrame,
    keys: list[str] | None,
    spec: AnySpec,
    now: datetime,
    *,
    resent: bool,
) -> Counts:
    operations = pl.scan_parquet(folder / OPERATIONS)
    updated = operations.filter(pl.col("_operation") == "update")
    seconds = pl.col("_timestamp").cast(pl.Int64) if "_timestamp" in prepared.data else pl.lit(None, dtype=pl.Int64)
    sent, moment = pl.col("_operation") == "send", int(now.timestamp())
    chosen = pl.lit(True) if keys is None else pl.col("_key").is_in(keys).fill_null(False)
    by_operation, ages, source, rejected, before, changed = pl.collect_all(
        [
            operations.group_by("_operation").len(),
            operations.filter(sent).select(
                old=(seconds < moment - CAMPAIGN_WINDOW_SECONDS).sum(), future=(seconds > moment).sum()
            ),
            pl.scan_parquet(folder / STAGED).select(rows=pl.len(), not_chosen=(~chosen).sum()),
            pl.scan_parquet(folder / REJECTED).select(pl.len()),
            known.select(pl.len()),
            # Most plans send nothing again that has not changed; then what changed need not be read.
            (updated.filter(pl.col("_changes") != "{}") if resent else updated).select(pl.len()),
        ],
        engine="streaming",
    )
    counted = dict(by_operation.iter_rows())
    written = sum(counted.values()) - counted.get("delete", 0)
    is_event = isinstance(spec, Event)
    return Counts(
        source=source["rows"].item(),
        not_chosen=source["not_chosen"].item(),
        rejected=rejected.item(),
        unchanged=source["rows"].item() - source["not_chosen"].item() - rejected.item() - written,
        known=before.item(),
        old_events=ages["old"].item() or 0 if is_event else 0,
        future_events=ages["future"].item() or 0 if is_event else 0,
        changed=changed.item(),
        **counted,
    )


def _known(compared: pl.LazyFrame | None, unsettled: pl.LazyFrame | None) -> pl.LazyFrame:
    """Keys of the rows that are, or may be, in Customer.io."""
    keys = compared.select("_key") if compared is not None else pl.LazyFrame(schema={"_key": pl.String})
    if unsettled is None:
        return keys
    perhaps = unsettled.select("_key")
    return pl.concat([keys.join(perhaps, on="_key", how="anti"), perhaps])


def _of_keys(rows: pl.LazyFrame, keys: list[str] | None) -> pl.LazyFrame:
    """The rows with these keys; None for all."""
    return rows if keys is None else rows.filter(pl.col("_key").is_in(keys))


def _unknown(keys: list[str], folder: Path, known: pl.LazyFrame) -> list[str]:
    """Of the keys, those that are neither in the source nor known, in their order."""
    there = pl.concat([pl.scan_parquet(folder / STAGED).select("_key"), known]).filter(pl.col("_key").is_in(keys)).unique()
    found = set(there.collect(engine="streaming")["_key"])
    return [key for key in keys if key not in found]


def manifest_of(plan: Plan) -> str:
    """What `read_manifest` reads."""
    manifest = {key: value for key, value in asdict(plan).items() if key not in ("folder", "copied_to")}
    return json.dumps(manifest, indent=1)


def _write_manifest(plan: Plan) -> None:
    write_last(plan.folder / MANIFEST, manifest_of(plan))


def write_last(path: Path, text: str) -> None:
    """Write a file so that after a crash it is there whole or not at all, and what was written before it is on disk too.

    All of them become their owner's alone.
    """
    for each in path.parent.iterdir():
        each.chmod(0o600)
        with each.open("rb") as file:
            os.fsync(file.fileno())
    partial = path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
