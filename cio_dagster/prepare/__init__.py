"""PREPARE: a source frame becomes rows that Customer.io can take, and rejected rows that say why not.

Pure functions from frames to frames. A prepared row has these columns, all String but `_row`, `_newest` and `_reject`:

| column | what |
|---|---|
| `_row` | UInt32, the row's place in the source, from 0 |
| `_key` | the sync key: one identifier, or a JSON array of several |
| `_person`, `_object`, `_token`, `_row_id` | the identifiers, as the spec has them |
| `_platform`, `_last_used`, `_name`, `_timestamp` | Customer.io's own fields of the operation, as JSON text |
| `_ulid` | an event's ULID |
| `_newest` | the column that decides among rows with the same key, where the spec names one |
| each attribute | its JSON text; null where nothing is sent |

| `_reject` | a struct of reason, field and message; null if the row is ready |

A rejected row's `_key` is null if that is what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from cio_dagster.errors import SpecError
from cio_dagster.limits import COLLECTION_ROW_BYTES
from cio_dagster.prepare.attributes import attribute_dtype, attribute_rejects, attribute_text, attributes_of
from cio_dagster.prepare.columns import PREFIX, source
from cio_dagster.prepare.fields import field_dtype, field_rejects, field_text
from cio_dagster.prepare.identifiers import content_key, identifier_rejects, identifier_text, sync_key
from cio_dagster.prepare.json_text import joined_object
from cio_dagster.prepare.rejects import REJECT, Reject, first_reject, numbered, reject
from cio_dagster.prepare.ulid import ulid
from cio_dagster.specs import AnySpec, Collection, Event

__all__ = ["REJECT", "Prepared", "duplicate_rejects", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """All rows of a source, ready and rejected; the identifier columns; and the data columns, own fields first, then attributes."""

    rows: pl.LazyFrame
    identifiers: list[str]
    data: list[str]
    dtypes: dict[str, pl.DataType]
    """What the data columns' JSON text reads back to (see `typed`)."""

    @property
    def ready(self) -> pl.LazyFrame:
        """The rows that can be sent."""
        return self.rows.filter(pl.col("_reject").is_null()).drop("_reject")

    @property
    def rejected(self) -> pl.LazyFrame:
        """The rows that cannot: `_row`, `_key`, `_reject`."""
        return self.rows.filter(pl.col("_reject").is_not_null()).select("_row", "_key", "_reject")


def prepare(frame: pl.LazyFrame, spec: AnySpec) -> Prepared:
    """Say of each row of a source what is sent, or why nothing is (rows that share a key are not seen here: see `duplicate_rejects`).

    To use both ready and rejected rows, keep `rows` first: each use of a lazy frame may read the source anew, and a source may give
    other rows then.
    Raises SpecError where the source lacks a column, or a column or a name can never be sent.
    """
    schema = frame.collect_schema()
    _check_columns(spec, schema)
    attributes = attributes_of(spec, schema)
    roles = {f"_{role}": part for role, part in spec.identifiers.items()}
    fields = {f"_{name}": column for name, column in spec.fields.items()}
    names = [attribute.name for attribute in attributes]

    rows = frame.rename({name: PREFIX + name for name in schema}).with_row_index("_row")
    rows = rows.with_columns(
        *(identifier_text(part, schema[part.column]).alias(role) for role, part in roles.items()),
        *(field_text(name, column, spec, schema).alias(name) for name, column in fields.items()),
        *(attribute_text(attribute, spec, schema).alias(attribute.name) for attribute in attributes),
    )
    identifiers = list(roles)
    if isinstance(spec, Event):
        seconds = pl.col("_timestamp").cast(pl.Int64, strict=False) if spec.timestamp else pl.lit(0, dtype=pl.Int64)
        name = pl.col("_name") if spec.name_column else pl.lit(json.dumps(spec.name, ensure_ascii=False))
        rows = rows.with_columns(_seed=pl.concat_str([name, pl.col("_row_id")], separator="\n"))
        rows = rows.with_columns(_ulid=ulid("_seed", seconds))
        identifiers.append("_ulid")
    if isinstance(spec, Collection):
        rows = rows.with_columns(_content=joined_object([(name, pl.col(name)) for name in names]))
        rows = rows.with_columns(_key=content_key("_content"))
    else:
        rows = rows.with_columns(_key=sync_key(spec))
    if spec.keep_newest_by:
        rows = rows.with_columns(_newest=source(spec.keep_newest_by))

    def rejects() -> Iterator[Reject]:
        for role, part in spec.identifiers.items():
            yield from identifier_rejects(role, part)
        for name, column in fields.items():
            yield from field_rejects(name, column, spec, schema)
        yield from attribute_rejects(attributes, spec, schema)
        if isinstance(spec, Collection):
            size = pl.col("_content").str.len_bytes()
            message = numbered(
                "the row is ", size, f" bytes as JSON; the limit of a collection's row is {COLLECTION_ROW_BYTES}"
            )
            yield reject("row_too_long", "", size > COLLECTION_ROW_BYTES, message)

    newest = ["_newest"] if spec.keep_newest_by else []
    return Prepared(
        rows=rows.select("_row", "_key", *identifiers, *newest, *fields, *names, _reject=first_reject(rejects())),
        identifiers=identifiers,
        data=[*fields, *names],
        dtypes={name: field_dtype(name) for name in fields}
        | {each.name: attribute_dtype(each, spec, schema) for each in attributes},
    )


def duplicate_rejects(rows: pl.LazyFrame, spec: AnySpec) -> pl.LazyFrame:
    """The ready rows to reject because other rows of the source, ready or not, have the same key: `_row`, `_key`, `_reject`.

    All of them; or, where the spec says `keep_newest_by`, all but the newest. Rows that tie for the newest are rejected too.
    """
    keys = rows.group_by("_key").agg(_rows=pl.len()).filter(pl.col("_rows") > 1, pl.col("_key").is_not_null())
    newest = ["_newest"] if spec.keep_newest_by else []
    # The order is for Polars 2.0.0, the last for Python 3.10: it panics when it estimates this join of no rows, to choose a side.
    shared = rows.select("_row", "_key", *newest, _ready=pl.col("_reject").is_null()).join(
        keys, on="_key", maintain_order="left"
    )
    field = ", ".join(spec.identifiers[role].column for role in spec.sync_key)
    reason, text = "duplicate_key", " rows of the source have this key; each key may have one"
    if spec.keep_newest_by is not None:
        highest = (pl.col("_newest") == pl.col("_newest").max().over("_key")).fill_null(False)
        winner = highest & (highest.cast(pl.UInt32).sum().over("_key") == 1)
        shared = shared.filter(~winner)
        reason = "duplicate_key_not_newest"
        text = f" rows of the source have this key; {spec.keep_newest_by!r} is not the single highest in this one"
    found = pl.struct(reason=pl.lit(reason), field=pl.lit(field), message=numbered("", pl.col("_rows"), text))
    return shared.filter("_ready").select("_row", "_key", _reject=found)


def _check_columns(spec: AnySpec, schema: Mapping[str, pl.DataType]) -> None:
    wanted = [part.column for part in spec.identifiers.values()] + list(spec.fields.values())
    if spec.keep_newest_by:
        wanted.append(spec.keep_newest_by)
    for setting in (spec.dates, getattr(spec, "nulls", "omit")):
        wanted.extend([] if isinstance(setting, str) else setting)
    missing = [column for column in dict.fromkeys(wanted) if column not in schema]
    if missing:
        raise SpecError(f"{spec.object}: the query gives no column {', '.join(map(repr, missing))}; it gives {sorted(schema)}")
    if spec.keep_newest_by and (schema[spec.keep_newest_by].is_nested() or schema[spec.keep_newest_by] == pl.Object):
        raise SpecError(f"column {spec.keep_newest_by!r} is {schema[spec.keep_newest_by]}, which has no highest value")
