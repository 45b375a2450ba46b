"""The state store: what Customer.io accepted, what became of every row, and the plan under way.

    <root>/<workspace>/<asset>/<partition>/
        state.json   format, identity of the sync, the workspace's environment id, when the first run began, the last plan's sequence
        snapshot/    Delta table: one row for each row that Customer.io accepted (for events: each row sent or left out)
        unsettled.parquet  `_key` and identifiers of rows that a request without an answer was about (see `cio_dagster.commit`)
        watermark.json  how far the source was read, where that is incremental (see `cio_dagster.incremental`)
        outcomes/    Delta table: what became of every row of every run
        spec.json    the spec of the last plan
        dtypes.parquet  no rows: what the JSON text of the snapshot's attributes reads back to
        plan/        the plan under way (see `cio_dagster.plan`); gone once committed
        plans/       the plans of the last dry runs, by run id (see `cio_dagster.stored`)
        report.json  counts of the last run
        wave.json    of a partition by sync key, what its last run did, for the guards of the others (see `cio_dagster.wave`)
        lock, lock.json (see `cio_dagster.lock`)

The root is a folder, or a place in an object store. Then a plan is made, sent from and shown in a working folder of the machine, and copied to
the state before anything is sent, with its answers as they come: the next run may be another machine's.

Both tables carry the sequence of the plan they were last written for as a Delta transaction, so that a commit made twice counts once; and
the format as their description. Every file is its owner's alone (0600, folders 0700).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError

from cio_dagster import places, tables
from cio_dagster.answers import join_copies
from cio_dagster.errors import StateError, StateUnavailable, SyncError
from cio_dagster.incremental import Watermark
from cio_dagster.lock import Held, lock
from cio_dagster.places import Place, StorePath
from cio_dagster.plan import BASELINE, DTYPES, MANIFEST, OPERATIONS, REJECTED, Counts, Plan, manifest_of, read_manifest
from cio_dagster.plan import FORMAT as PLAN_FORMAT
from cio_dagster.prepare.columns import INTERNAL
from cio_dagster.prepare.json_text import typed
from cio_dagster.specs import AnySpec, read_spec
from cio_dagster.wave import Part, read_part

FORMAT = 1
"""The version of the layout above."""

DESCRIPTION = f"cio_dagster format {FORMAT}"
"""The tables' description in their Delta metadata."""

FORGOTTEN = ".forgotten"
"""The folder under a state root where `cio-state` moves what is to be forgotten."""

LONGEST_NAME = 200
"""Bytes; file systems take 255, and `partition=` stands before some."""

OUTCOMES_SCHEMA = pl.Schema(
    {
        "run_id": pl.String(),
        "asset": pl.String(),
        "partition": pl.String(),
        "key": pl.String(),
        "operation": pl.String(),
        "outcome": pl.String(),
        "reason": pl.String(),
        "field": pl.String(),
        "message": pl.String(),
        "time": pl.Datetime("us", "UTC"),
        "rows": pl.Int32(),
    }
)
"""The outcomes table. `outcome` is accepted, rejected, pending (with the reason `limit` where the run's limit left it out), left_out,
unchanged, not_chosen (by the run's only_keys) or stopped. `operation` is the plan's; `prepare` for rows rejected before sending; `none` for
unchanged rows, for those not chosen and for those of a run that was stopped, each of which one line counts; and `read_back` for what was
accepted and turned out not to be in Customer.io: pending again. `rows` is how many rows the line speaks for: none there, as those rows were
counted when they were accepted."""

UNSETTLED = "unsettled.parquet"

WATERMARK, WAVE = "watermark.json", "wave.json"

PARQUETS = (OPERATIONS, REJECTED, DTYPES, BASELINE)
"""A plan's files, of which the last may be missing."""

HISTORY_HOURS = 30 * 24
"""How long older versions of the tables can be read."""

VACUUM_EVERY, COMPACT_EVERY = 10, 50
"""Plans after which what has become older than that is removed, and after which small files of tables that are appended to are joined."""


def state_root(state: str) -> Place:
    """The place that a `CIO_STATE` value names. Raises StateError for one that cannot be used."""
    scheme, rest = state.rpartition("://")[0], state.partition("://")[2]
    if scheme not in ("", "file", *places.SCHEMES):
        raise StateError(
            f"The state cannot be at {scheme}://...: set CIO_STATE to a folder, or to s3://, gs:// or az:// with a bucket and a prefix."
        )
    if scheme in places.SCHEMES:
        bucket, _, prefix = rest.strip("/").partition("/")
        if not bucket or not prefix or set(rest) & set("@?#"):
            raise StateError(
                f"CIO_STATE is {scheme}://bucket/prefix, with a prefix and nothing else: credentials are the environment's."
            )
        place: Place = StorePath(f"{scheme}://{bucket}/{prefix}")
    else:
        place = Path(state.removeprefix("file://")).expanduser().absolute()
    if odd := sorted(set(re.findall(r"[^A-Za-z0-9_./~+=&@,:()'-]", str(place)))):
        raise StateError(
            f"The state's place {place} has {odd} in it, which Delta tables cannot be read from: choose another CIO_STATE."
        )
    return place


@dataclass(frozen=True)
class StateInfo:
    """The content of `state.json`."""

    identity: dict[str, str]
    environment_id: int
    started_at: str
    sequence: int = 0
    snapshot_sequence: int = 0
    outcomes_sequence: int = 0
    """The plans that the tables were last written for: an older table has lost something."""
    spread_to: str = ""
    """The split that its rows are being spread to (see `cio_dagster.repartition`): no run opens it any more."""
    format: int = FORMAT


@dataclass(frozen=True)
class Opened:
    """The tables of a state as they were when they were opened, which takes a store many requests; None where there is none yet."""

    snapshot: DeltaTable | None
    outcomes: DeltaTable | None

    @property
    def versions(self) -> dict[str, int]:
        """Their Delta versions."""
        found = {"snapshot": self.snapshot, "outcomes": self.outcomes}
        return {name: table.version() for name, table in found.items() if table is not None}

    @property
    def written(self) -> int:
        """The last plan that one of them was written for."""
        return max(tables.written_for(self.snapshot), tables.written_for(self.outcomes))


@dataclass(frozen=True)
class AssetState:
    """The state of one asset partition of one workspace."""

    root: Place
    workspace: str
    asset: str
    partition: str | None = None

    @property
    def folder(self) -> Place:
        """Where it is kept. Asset and partition names are encoded (see `_quoted`)."""
        workspace, asset, partition = self._names
        return self.root / workspace / asset / partition

    @property
    def working_folder(self) -> Path:
        """Where plans are made and read: the same, or, of a state in an object store, a folder for it among the machine's temporary ones."""
        root = self.root
        if isinstance(root, StorePath):
            root = _temporary() / hashlib.sha256(root.url.encode()).hexdigest()[:16]
        return root.joinpath(*self._names)

    @property
    def plan_folder(self) -> Path:
        """Where the plan under way is, on this machine."""
        return self.working_folder / "plan"

    @property
    def plans(self) -> Place:
        """Where the plans of dry runs are kept: no later run takes one for a plan that was sent."""
        return self.folder / "plans"

    def dry_run_place(self, run_id: str) -> Place:
        """Where the plan of a dry run is kept."""
        return self.plans / _quoted(run_id)

    def dry_run_folder(self, run_id: str) -> Path:
        """Where it is on this machine."""
        return self.working_folder / "plans" / _quoted(run_id)

    @contextmanager
    def lock(self, run_id: str) -> Iterator[Held]:
        """Be the only writer. Raises LockedError if another run holds the lock."""
        self._make_folder()
        what = self.asset if self.partition is None else f"{self.asset} partition {self.partition}"
        with ExitStack() as locks:
            held = locks.enter_context(lock(self.working_folder, run_id, what))
            if isinstance(self.folder, StorePath):
                held = locks.enter_context(lock(self.folder, run_id, what))
                locks.callback(self._tidy)
            yield held

    def _tidy(self) -> None:
        """Leave no rows on this machine of a state that is elsewhere."""
        for name in ("plan", "plans"):
            shutil.rmtree(self.working_folder / name, ignore_errors=True)

    def info(self) -> StateInfo | None:
        """The content of `state.json`; None before the first run. Raises StateError for a format of another version."""
        path = self.folder / "state.json"
        try:
            if (content := places.read(path)) is None:
                if self._table("snapshot") is not None:
                    raise StateError(
                        f"{path} is missing, but there is a snapshot beside it: restore it, or move {self.folder} away."
                    )
                return None
            found = json.loads(content)
            version = found["format"]
            info = StateInfo(**found) if version == FORMAT else None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise self._damaged(path, error) from None
        if info is None:
            raise StateError(_other_format(path, version, FORMAT))
        return info

    def open_tables(self) -> Opened:
        """Its tables as they are now. Raises StateError where the log of one is damaged."""
        for name in ("snapshot", "outcomes"):
            tables.check_log(self.folder / name)
        return Opened(self._table("snapshot"), self._table("outcomes"))

    def open(
        self,
        spec: AnySpec,
        environment_id: int,
        *,
        keep: bool = True,
        started_at: str | None = None,
        opened: Opened | None = None,
    ) -> StateInfo:
        """The info, made on a first run, which begins now or at `started_at` (ISO 8601), and kept if that is to count as one.

        Raises StateError if the state is of another workspace or another kind of sync.
        """
        info = self.info()
        if info is None:
            info = StateInfo(spec.identity, environment_id, started_at or datetime.now(timezone.utc).isoformat())
            if keep:
                self.save_info(info)
        self._check_outcomes(info, opened)
        if info.environment_id != environment_id:
            raise StateError(
                f"Nothing was sent: {self.folder} is the state of workspace {info.environment_id}, but the credentials belong to workspace "
                f"{environment_id}. Give each workspace a name (CustomerIO(workspace=...)) or a CIO_STATE of its own. If this one is not needed "
                f"any more, move its state away with {self._forget}: then the next run sends every row."
            )
        if info.identity != spec.identity:
            raise StateError(
                f"Nothing was sent: the snapshot of {self.asset} was made for {_in_words(info.identity, spec.identity)}; the spec now says "
                f"{_in_words(spec.identity, info.identity)}. Give the changed sync another asset name, or move its state away with "
                f"{self._forget}: then the next run sends every row. What Customer.io holds stays there either way."
            )
        return info

    def snapshot(self, opened: Opened | None = None) -> pl.LazyFrame | None:
        """What Customer.io accepted; None before the first commit. Raises StateError where a committed snapshot is missing or damaged."""
        path = self.folder / "snapshot"
        if (table := self._table("snapshot") if opened is None else opened.snapshot) is not None:
            try:
                description = table.metadata().description or DESCRIPTION
                if description != DESCRIPTION:
                    raise StateError(_other_format(path, description.rpartition(" ")[2], FORMAT))
                written, info = tables.written_for(table), self.info()
                if info is not None and written < info.snapshot_sequence:
                    raise StateError(
                        f"{path} is that of plan {written}, but plan {info.snapshot_sequence} was committed to it: restore the newer one, "
                        f"or move {self.folder} away to start anew."
                    )
                if opened is None:
                    tables.check_log(path)
                tables.check_files(table, path)
                return pl.scan_delta(table)
            except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
                raise self._damaged(path, error) from None
        info = self.info()
        if info is not None and info.sequence:
            raise StateError(
                f"{path} is missing, though {info.sequence} plans were committed to it. An empty snapshot would send everything again: "
                f"restore it, or move {self.folder} away if that is meant."
            )
        return None

    def rows(self) -> int:
        """The rows of the snapshot."""
        found = self.snapshot()
        return 0 if found is None else int(found.select(pl.len()).collect(engine="streaming").item())

    def exists(self) -> bool:
        """Whether a run has begun it."""
        return places.read(self.folder / "state.json") is not None

    def has_rows(self) -> bool:
        """Whether there is anything of a snapshot."""
        return places.is_folder(self.folder / "snapshot")

    def values(self, spec: AnySpec, rows: pl.LazyFrame | None = None) -> pl.LazyFrame | None:
        """The snapshot for people and other assets: identifiers by Customer.io's names, attributes as values. None where there is none.

        rows
            Some rows of the snapshot, or an older version of it; by default all of it, as it is now.
        """
        rows = self.snapshot() if rows is None else rows
        if rows is None:
            return None
        dtypes = self.dtypes()
        names = {f"_{role}": part.kind for role, part in spec.identifiers.items()} | {"_ulid": "ulid"}
        own = {f"_{name}": name for name in spec.fields}
        values = {
            name: typed(pl.col(name), dtypes.get(name, pl.String())) for name in rows.collect_schema() if _sent(name, own)
        }
        taken = set(values)
        renames = {old: new for old, new in (names | own).items() if new not in taken}
        return rows.select(pl.col("^_(person|object|token|row_id|ulid)$"), **values).rename(renames, strict=False)

    def plan_under_way(self) -> Plan | None:
        """The plan under way, if a run left one behind: what its manifest says. Raises StateError where that cannot be read."""
        path = self._plan_place / MANIFEST
        try:
            if (content := places.read(path)) is None:
                return None
            if (version := json.loads(content)["format"]) != PLAN_FORMAT:
                raise StateError(_other_format(path, version, PLAN_FORMAT))
            return read_manifest(content, self.plan_folder)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise self._damaged_plan(error) from None

    def plan(self) -> Plan | None:
        """The same with its files, on this machine. Raises StateError where they cannot be read."""
        if (found := self.plan_under_way()) is None:
            return None
        try:
            if isinstance(place := self._plan_place, StorePath):
                places.download(place / found.files, found.folder)
            join_copies(found.answers_path)
            for pattern in PARQUETS:
                paths = list(found.folder.glob(pattern))
                if not paths and pattern != BASELINE:
                    raise FileNotFoundError(found.folder / pattern)
                for each in paths:
                    pl.read_parquet_schema(each)  # Its end: what a power cut takes first.
        except (OSError, pl.exceptions.PolarsError) as error:
            raise self._damaged_plan(error) from None
        return found

    def publish(self, plan: Plan) -> Plan:
        """Have a plan in the state before it is sent, and its answers copied there as they come: of use where the state is not on this machine."""
        if not isinstance(place := self._plan_place, StorePath):
            return plan
        files = uuid.uuid4().hex
        plan = replace(plan, files=files, copied_to=place / files)
        places.upload(plan.folder, place / files, but=MANIFEST)
        if (place / MANIFEST).put_if(manifest_of(plan).encode(), "create") is None:
            raise StateUnavailable(f"Nothing was sent: another run has put its plan at {place} meanwhile. Run it again.")
        return plan

    def next_sequence(self, opened: Opened | None = None) -> int:
        """The sequence of the next plan: beyond all that the tables know, even if an older `state.json` was restored."""
        info = self.info()
        return max(info.sequence if info else 0, (opened or self.open_tables()).written) + 1

    def unsettled(self) -> pl.LazyFrame | None:
        """Rows that may be in Customer.io or not: `_key` and identifiers. None where all is known. Raises StateError where it is damaged."""
        path = self.folder / UNSETTLED
        try:
            content = places.read(path)
            return None if content is None else pl.read_parquet(BytesIO(content)).lazy()
        except (OSError, pl.exceptions.PolarsError) as error:
            then = "restore it, or remove it. Then rows whose sending was interrupted are taken for unsent."
            raise self._damaged(path, error, then) from None

    def write_unsettled(self, rows: pl.LazyFrame | None) -> None:
        """Replace them; None where all is known."""
        path, content = self.folder / UNSETTLED, BytesIO()
        if rows is None:
            path.unlink(missing_ok=True)
            return
        rows.collect().write_parquet(content)
        places.replace(path, content.getvalue())

    def watermark(self) -> Watermark | None:
        """How far the source was read; None where the next run is to read all of it."""
        content = places.read(self.folder / WATERMARK)
        return None if content is None else Watermark(**json.loads(content))

    def write_watermark(self, mark: Watermark | None) -> None:
        """Replace it."""
        if mark is None:
            (self.folder / WATERMARK).unlink(missing_ok=True)
        else:
            places.replace(self.folder / WATERMARK, json.dumps(asdict(mark)))

    def part(self) -> Part | None:
        """What the last run did, or the one under way does, of a partition by sync key. Raises StateError where it cannot be read."""
        path = self.folder / WAVE
        try:
            content = places.read(path)
            return None if content is None else read_part(content)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise self._damaged(path, error, "remove it; the next run writes it anew.") from None

    def write_part(self, part: Part | None) -> None:
        """Replace it."""
        if part is None:
            (self.folder / WAVE).unlink(missing_ok=True)
        else:
            places.replace(self.folder / WAVE, part.to_json())

    def siblings(self) -> list[AssetState]:
        """The other partitions of the asset that have a folder."""
        folder = self.folder.parent
        found = [_of_folder(self.root, folder.parent.name, folder.name, name) for name in places.folders(folder)]
        return [each for each in found if each is not None and each.partition != self.partition]

    def write_snapshot(self, rows: Iterable[pl.LazyFrame], plan: Plan, *, append: bool) -> None:
        """Write the snapshot of a plan, in parts with the same columns, unless that was done already."""
        self._write("snapshot", rows, plan, append=append)

    def write_outcomes(self, rows: pl.LazyFrame, plan: Plan) -> None:
        """Append a plan's outcomes, unless that was done already."""
        self._write("outcomes", [rows], plan, append=True)

    def append_outcomes(self, rows: pl.LazyFrame) -> None:
        """Append outcomes that are of no plan to be committed."""
        self._sink("outcomes", self._table("outcomes"), [rows], append=True, properties=None)

    def outcomes(self) -> pl.LazyFrame:
        """What became of every row of every run of this asset partition (schema OUTCOMES_SCHEMA)."""
        table = self._table("outcomes")
        return pl.LazyFrame(schema=OUTCOMES_SCHEMA) if table is None else pl.scan_delta(table)

    def put_back(self, keys: pl.Series, unsettled: pl.DataFrame | None, lines: pl.DataFrame, *, run_id: str) -> None:
        """Take rows out of the snapshot, as they turned out not to be in Customer.io as accepted. Call it under the lock, with no plan under way.

        unsettled
            Of these and of others, `_key` and identifiers of those that may be there all the same, and are to be removed if the source
            does not have them; None for none.
        lines
            The outcomes of this, which count no rows anew.

        A Delta commit of its own, so the older version stays readable; of no plan, so the snapshot stays that of the last one.
        """
        self.write_watermark(None)  # Those rows are to be read again, whenever they changed last.
        if unsettled is not None:
            before = self.unsettled()
            merged = [unsettled] if before is None else [unsettled, before.collect()]
            self.write_unsettled(pl.concat(merged, how="diagonal").unique("_key", keep="first").lazy())
        snapshot = self.snapshot()
        if snapshot is not None and len(keys):
            kept = snapshot.join(pl.LazyFrame({"_key": keys}), on="_key", how="anti")
            properties = CommitProperties(custom_metadata={"run_id": run_id, "put_back": str(len(keys))})
            self._sink("snapshot", self._table("snapshot"), [kept], append=False, properties=properties)
        self.append_outcomes(lines.lazy())

    def close_plan(self, plan: Plan, wrote: Iterable[str]) -> None:
        """Mark a plan as committed to these tables, and remove it."""
        if (plan.folder / DTYPES).exists():
            # Attributes that the source no longer has are in the snapshot still.
            self._write_dtypes(self.dtypes() | dict(pl.read_parquet_schema(plan.folder / DTYPES)))
        places.replace(self.folder / "spec.json", json.dumps(plan.spec, indent=1))
        info = self.info()
        assert info is not None
        sequences = {"sequence": max(plan.sequence, info.sequence)} | {f"{name}_sequence": plan.sequence for name in wrote}
        self.save_info(StateInfo(**asdict(info) | sequences))
        self.discard_plan()

    def take_over(
        self,
        info: StateInfo,
        spec: AnySpec,
        rows: pl.LazyFrame | None,
        unsettled: pl.LazyFrame | None,
        dtypes: dict[str, pl.DataType],
        part: Part | None,
        *,
        run_id: str,
    ) -> None:
        """Begin with rows that other states had, as if a plan had been committed. Until `state.json` is there, which comes last, there is no state.

        part
            What is to be kept of a partition by sync key for the guards of the others, but for its rows.
        """
        made_at = datetime.now(timezone.utc).isoformat()
        plan = Plan(self.plan_folder, run_id, 1, made_at, Counts(), spec=spec.model_dump(mode="json"))
        places.remove(self.folder / "snapshot")
        self.write_unsettled(None if unsettled is None or unsettled.limit(1).collect().is_empty() else unsettled)
        self._write_dtypes(dtypes)
        places.replace(self.folder / "spec.json", json.dumps(plan.spec, indent=1))
        if rows is not None:
            self.write_snapshot([rows], plan, append=False)
            info = replace(info, sequence=1, snapshot_sequence=1)
        if part is not None:
            table = self._table("snapshot")
            count = 0 if table is None else int(pl.DataFrame(table.get_add_actions(flatten=True))["num_records"].sum())
            self.write_part(replace(part, known=count, now=count))
        self.save_info(info)

    def tend(self, sequence: int) -> None:
        """Upkeep of the tables after a plan: now and then remove what is older than their history, and join small files.

        Each is a Delta commit of its own, or none: what a crash leaves undone, a later one does.
        """
        compacts, vacuums = sequence % COMPACT_EVERY == 0, sequence % VACUUM_EVERY == 0
        for name in ("snapshot", "outcomes") if compacts or vacuums else ():
            path = self.folder / name
            if (table := self._table(name)) is None:
                continue
            with places.flushed(path):
                if compacts:
                    table.optimize.compact()
                if vacuums:
                    table.vacuum(HISTORY_HOURS, dry_run=False, enforce_retention_duration=False, full=True)

    def drop_plan(self) -> None:
        """Remove a plan that was not published."""
        if self.plan_folder.exists():
            (self.plan_folder / MANIFEST).unlink(missing_ok=True)
            places.remove(self.plan_folder)

    def discard_plan(self) -> None:
        """Remove the plan under way."""
        for place in dict.fromkeys([self._plan_place, self.plan_folder]):
            if places.is_folder(place):
                # The manifest first: a folder without it is no plan.
                (place / MANIFEST).unlink(missing_ok=True)
                places.remove(place)

    def spec(self) -> AnySpec | None:
        """The spec of the last committed plan; None before the first commit. Raises StateError where it cannot be read."""
        path = self.folder / "spec.json"
        try:
            content = places.read(path)
            return None if content is None else read_spec(json.loads(content))
        except (ValueError, TypeError, OSError) as error:
            raise self._damaged(path, error, "run the asset once, which writes it anew.") from None

    def report(self) -> dict[str, Any] | None:
        """The report of the last run, as JSON."""
        path = self.folder / "report.json"
        try:
            content = places.read(path)
            found: dict[str, Any] | None = None if content is None else json.loads(content)
        except (ValueError, OSError) as error:
            raise self._damaged(path, error, "remove it; the next run writes it anew.") from None
        return found

    def save_report(self, report: dict[str, Any]) -> None:
        """Keep the report of a run."""
        places.replace(self.folder / "report.json", json.dumps(report, indent=1, default=str))

    @property
    def _forget(self) -> str:
        """The command that moves this state away."""
        partition = "" if self.partition is None else f" --partition {shlex.quote(self.partition)}"
        return f"`cio-state forget {shlex.quote(self.asset)}{partition}`"

    @property
    def _plan_place(self) -> Place:
        return self.folder / "plan"

    @property
    def _names(self) -> tuple[str, str, str]:
        partition = "whole" if self.partition is None else f"partition={_quoted(self.partition)}"
        return _quoted(self.workspace), _quoted(self.asset), partition

    def _make_folder(self) -> None:
        places.make_folders(self.root, self.folder)
        if isinstance(self.root, StorePath):
            working = _temporary()
            try:
                places.make_folders(working, self.working_folder)
            except OSError as error:
                raise StateError(f"{working} cannot be used ({error}): {_TMPDIR}") from None
            if os.stat(working).st_uid != os.getuid():
                raise StateError(f"{working} is another user's: {_TMPDIR}")

    def _damaged(self, path: Place, error: Exception, then: str | None = None) -> SyncError:
        """What is to be said of a file that cannot be read."""
        said = places.reason(error)
        if isinstance(path, StorePath) and isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            return StateUnavailable(f"{path} could not be read ({said}). {places.remedy(said)}.")
        return StateError(f"{path} cannot be read ({said}): {then or f'restore it, or move {self.folder} away to start anew.'}")

    def _damaged_plan(self, error: Exception) -> SyncError:
        then = "restore it, or remove it. Then what Customer.io accepted of it is sent again; events are not taken twice."
        return self._damaged(self._plan_place, error, f"an interrupted run left it: {then}")

    def dtypes(self) -> dict[str, pl.DataType]:
        """What the JSON text of the snapshot's attributes reads back to. Raises StateError where that cannot be read."""
        path = self.folder / DTYPES
        try:
            content = places.read(path)
            return {} if content is None else dict(pl.read_parquet_schema(BytesIO(content)))
        except (OSError, pl.exceptions.PolarsError) as error:
            then = "restore it, or remove it. Then attributes of the snapshot are read as text until the next run."
            raise self._damaged(path, error, then) from None

    def _write_dtypes(self, dtypes: dict[str, pl.DataType]) -> None:
        content = BytesIO()
        pl.DataFrame(schema=dtypes).write_parquet(content)
        places.replace(self.folder / DTYPES, content.getvalue())

    def _table(self, name: str) -> DeltaTable | None:
        """A table as it is now; None where there is none. Raises StateError where its log is damaged."""
        path = self.folder / name
        try:
            return tables.open_table(path)
        except (DeltaError, OSError) as error:
            raise self._damaged(path, error) from None

    def _check_outcomes(self, info: StateInfo, opened: Opened | None) -> None:
        """Raise StateError where the outcomes or dtypes of what was committed are lost: before anything is sent, not at the next commit."""
        self.dtypes()
        path = self.folder / "outcomes"
        if opened is None:
            tables.check_log(path)
        if (table := self._table("outcomes") if opened is None else opened.outcomes) is None:
            return
        if (written := tables.written_for(table)) < info.outcomes_sequence:
            raise StateError(
                f"{path} is that of plan {written}, but plan {info.outcomes_sequence} was committed to it: restore the newer one, or move "
                "this one away, and the outcomes begin anew."
            )
        tables.check_files(table, path)

    def save_info(self, info: StateInfo) -> None:
        """Replace `state.json`."""
        self._make_folder()
        places.replace(self.folder / "state.json", json.dumps(asdict(info), indent=1))

    def _write(self, name: str, rows: Iterable[pl.LazyFrame], plan: Plan, *, append: bool) -> None:
        tables.check_log(self.folder / name)
        table = self._table(name)
        if tables.written_for(table) >= plan.sequence:
            return
        version = None if table is None else table.version()
        if plan.versions is not None and version != plan.versions.get(name):
            raise StateError(
                f"{self.folder / name} is at version {version}, not at {plan.versions.get(name)} as when plan {plan.sequence} was made on it, and "
                f"the commit between is not that plan's, or not whole: remove that version's file from its _delta_log."
            )
        properties = tables.properties_of(plan.sequence, run_id=plan.run_id, made_at=plan.made_at)
        self._sink(name, table, rows, append=append, properties=properties)

    def _sink(
        self,
        name: str,
        table: DeltaTable | None,
        rows: Iterable[pl.LazyFrame],
        *,
        append: bool,
        properties: CommitProperties | None,
    ) -> None:
        path = self.folder / name
        with places.flushed(path):
            places.make_folders(self.root, path)
            tables.write(path, table, rows, append=append, description=DESCRIPTION, properties=properties)


_TMPDIR = "set TMPDIR to a folder of your own, with room for a plan."


def _temporary() -> Path:
    """Where this user's working folders are."""
    return Path(tempfile.gettempdir()) / f"cio_dagster-{os.getuid()}"


def all_states(root: Place) -> list[AssetState]:
    """Every asset partition that has a folder under a state root. (One with a name too long for its folder is known once a run committed.)"""
    found = []
    for workspace in places.folders(root):
        for asset in [] if workspace.startswith(".") else places.folders(root / workspace):
            found += [_of_folder(root, workspace, asset, last) for last in places.folders(root / workspace / asset)]
    return [state for state in found if state is not None]


def _of_folder(root: Place, workspace: str, asset: str, last: str) -> AssetState | None:
    folder = root / workspace / asset / last
    partition = None if last == "whole" else _unquoted(last.removeprefix("partition="))
    state = AssetState(root, _unquoted(workspace), _unquoted(asset), partition)
    if state.folder != folder and (report := places.read(folder / "report.json")) is not None:
        names = json.loads(report)
        state = AssetState(root, _unquoted(workspace), names["asset"], names["partition"])
    return state if state.folder == folder else None


def outcomes(root: Place | str, *, workspace: str | None = None, asset: str | None = None) -> pl.LazyFrame:
    """The outcomes of all asset partitions under a state root, of one workspace or one asset if named (schema OUTCOMES_SCHEMA)."""
    states = all_states(state_root(root) if isinstance(root, str) else root)
    chosen = [state for state in states if workspace in (None, state.workspace) and asset in (None, state.asset)]
    return pl.concat([pl.LazyFrame(schema=OUTCOMES_SCHEMA), *(state.outcomes() for state in chosen)])


def last_reports(root: Place, workspace: str, asset: str) -> list[dict[str, Any]]:
    """The reports of the last run of each partition of an asset, as JSON."""
    folder = AssetState(root, workspace, asset).folder.parent
    found = places.at_once(lambda name: places.read(folder / name / "report.json"), places.folders(folder))
    return [json.loads(report) for report in found if report is not None]


def _sent(column: str, own: dict[str, str]) -> bool:
    return column in own or column not in INTERNAL


def _in_words(identity: dict[str, str], other: dict[str, str]) -> str:
    """What of an identity another one does not say."""
    return ", ".join(f"{name} {value!r}" for name, value in identity.items() if other.get(name) != value) or "less"


def _quoted(name: str) -> str:
    """A name as one folder's name. `~` takes the place of `%`, which Delta paths would decode; `..` cannot lead elsewhere.

    Of a name too long for a folder's, the beginning and a hash.
    """
    quoted = quote(name, safe="").replace("~", "%7E").replace("%", "~")
    if len(quoted) > LONGEST_NAME:
        return quoted[: LONGEST_NAME - 66] + "~~" + hashlib.sha256(name.encode()).hexdigest()
    if not quoted:
        return "~"
    return quoted if quoted.strip(".") else quoted.replace(".", "~2E")


def _unquoted(folder: str) -> str:
    """The name that `_quoted` made a folder's of."""
    return "" if folder == "~" else unquote(folder.replace("~", "%"))


def _other_format(path: Place, found: object, known: int) -> str:
    return f"{path} has format {found}; this version of cio_dagster reads format {known}. Install the version that wrote it, or a newer one."
