"""Identity hygiene: people whose id or email clashes, in the source or with what Customer.io accepted before.

Customer.io answers 200 to all of these and then does something else than was asked, or does what nobody wanted. The rules are those that
its Track API document (docs.customer.io/files/journeys-track.json) has for PUT /api/v1/customers/{identifier}; it states none for v2.

| problem | found where | what Customer.io does |
|---|---|---|
| `shared_email`, `shared_id` | several rows have this attribute's value under different keys | see CLASH |
| `changed_email`, `changed_id` of the attribute | the key is known with another value of it | see SET |
| `changed_email`, `changed_id` of the key | the other one is known under another key | see CLASH |
| `similar_ids` | ids of the source, or one of the source and one known, differ by case or surrounding spaces only | see CASE |
| `id_like_email` | an id has the form of an email address | see FORM |

So in a sync by id with an email attribute, `changed_email` is an email that changed for a known id, and `changed_id` an id that changed for a
known email; in a sync by email with an id attribute it is the other way round. By `cio_id`, identifiers may be changed, so only `shared_*`
and what concerns ids is looked for; by phone, only changes of the attributes besides.

Columns and joins only; emails are compared as Customer.io compares them, without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, get_args

import polars as pl

from cio_dagster.hashes import BUCKET_ROWS, KEY_HASH, ROW_HASH, common, differing, key_hash, repeated, row_hash
from cio_dagster.prepare.columns import OLD
from cio_dagster.prepare.identifiers import EMAIL
from cio_dagster.prepare.rejects import numbered
from cio_dagster.specs import IdentityProblem, Person

CLASH = (
    "An unknown identifier with one that belongs to somebody re-labels that person, again and again if rows take turns; where both belong to "
    "people, the clashing one is not set (an Attribute Update Failure)."
)
SET = "An identifier that is set is changed only when the person is addressed by cio_id; else it stays (an Attribute Update Failure)."
SET_EMAIL = (
    "An email that is set is changed only when the person is addressed by cio_id, or by id if the workspace's setting \"Allow updates to email "
    'using ID" is on; else it stays (an Attribute Update Failure).'
)
CASE = "Ids are case-sensitive, so each spelling is a person of its own (docs.customer.io/journeys/identifying-people)."
FORM = "Calls of the Track API v1, by whatever program, take it for an email (components.parameters.track_customer_id)."

PROBLEMS: tuple[IdentityProblem, ...] = get_args(IdentityProblem)
SHARED: dict[str, IdentityProblem] = {"email": "shared_email", "id": "shared_id"}
CHANGED: dict[str, IdentityProblem] = {"email": "changed_email", "id": "changed_id"}

FOLDED = pl.col("id").str.strip_chars().str.to_lowercase()

Found: TypeAlias = tuple[IdentityProblem, pl.LazyFrame]


@dataclass(frozen=True)
class _Side:
    """People of the source or of the snapshot: `_row` (of the source), `_key`, `_person`, and `id` and `email` where they are known."""

    rows: pl.LazyFrame
    names: frozenset[str]


def identity_problems(
    ready: pl.LazyFrame,
    data: Sequence[str],
    spec: Person,
    snapshot: pl.LazyFrame | None,
    touched: pl.DataFrame | None = None,
) -> pl.LazyFrame | None:
    """The rows with each problem that the spec does not say to `send`: `_row`, `_key`, `problem`, `field`, `message`; None if there can be none.

    A row may have several.

    ready
        Prepared rows, each with a key of its own, of which the columns `data` are sent. Read several times.
    snapshot
        What Customer.io accepted before.
    touched
        The hashes of the keys of rows that may differ from the snapshot (see `cio_dagster.hashes`); None for all.
    """
    known = None if snapshot is None else _side(snapshot, snapshot.collect_schema().names(), spec)
    frames = [
        rows.select(
            "_row", "_key", problem=pl.lit(problem), field=pl.lit(_field(problem, spec)), message=_message(problem, spec)
        )
        for problem, rows in _problems(_side(ready, data, spec), known, touched, spec)
    ]
    return pl.concat(frames) if frames else None


def consequence(problem: IdentityProblem, spec: Person) -> str:
    """What Customer.io does with such rows, by its documentation."""
    if problem == "similar_ids":
        return CASE
    if problem == "id_like_email":
        return FORM
    if problem in ("shared_email", "shared_id") or problem == f"changed_{spec.key}":
        return CLASH
    return SET_EMAIL if (problem, spec.key) == ("changed_email", "id") else SET


def in_words(problem: IdentityProblem, spec: Person) -> str:
    """What such rows have, after "rows"."""
    attribute = "email" if spec.key == "id" else "id"
    words = {
        SHARED["email"]: "share their email with another row",
        SHARED["id"]: "share their id with another row",
        CHANGED["email"]: f"have another email than before, for the same {spec.key}",
        CHANGED["id"]: f"have another id than before, for the same {spec.key}",
        f"changed_{spec.key}": f"have an {attribute} that is known under another {spec.key}",
        "similar_ids": "have an id that differs from another by case or surrounding spaces only",
        "id_like_email": "have an id in the form of an email address",
    }
    return words[problem]


def _problems(source: _Side, known: _Side | None, touched: pl.DataFrame | None, spec: Person) -> Iterator[Found]:
    """Rows of the source with each problem, and in the column `_other` the identifier that is in the way."""
    now, key = source.rows, spec.key
    wanted = {problem for problem in PROBLEMS if spec.identity_rule(problem) != "send"}
    carried = [name for name in ("email", "id") if name != key and name in source.names]
    for name in carried:
        if SHARED[name] in wanted:
            yield SHARED[name], _shared(now, name)
    if "id" in source.names and "similar_ids" in wanted:
        yield "similar_ids", _similar(now)
    if "id" in source.names and "id_like_email" in wanted:
        yield "id_like_email", now.filter(pl.col("id").str.contains(EMAIL)).with_columns(_other="id")
    if known is not None and wanted - {*SHARED.values(), "id_like_email"}:
        yield from ((problem, rows) for problem, rows in _news(now, known, touched, spec, carried) if problem in wanted)


def _news(
    now: pl.LazyFrame, known: _Side, touched: pl.DataFrame | None, spec: Person, carried: Sequence[str]
) -> Iterator[Found]:
    """The same, of rows that are not known as they are: mostly few, so they are found first."""
    compared = [name for name in carried if name in known.names]
    if touched is None or len(touched) > BUCKET_ROWS:
        hashes = {ROW_HASH: row_hash(compared)}
        touched = differing(now.select(KEY_HASH, **hashes), known.rows.select(KEY_HASH, **hashes), gone=False)
    keys = touched.lazy()
    before = known.rows.join(keys, on=KEY_HASH, how="semi").select(
        "_key", *(pl.col(name).alias(OLD + name) for name in compared), _known=pl.lit(True)
    )
    differs = [pl.col(name).ne_missing(pl.col(OLD + name)) for name in compared]
    found = (
        now.join(keys, on=KEY_HASH, how="semi")
        .join(before, on="_key", how="left")
        .filter(pl.any_horizontal(pl.col("_known").is_null(), *differs))
        .collect(engine="streaming")
    )
    if found.is_empty():
        return
    news = found.lazy()
    for name in compared:
        if spec.key != "cio_id":
            yield CHANGED[name], news.filter(pl.col(name) != pl.col(OLD + name)).with_columns(_other=OLD + name)
        if spec.key in CHANGED:
            held = news.filter(pl.col(name).ne_missing(pl.col(OLD + name)))
            yield CHANGED[spec.key], _joined(held, known.rows.select(name, _other="_person"), name)
    if spec.key == "id":
        unknown = news.filter(pl.col("_known").is_null()).with_columns(_folded=FOLDED)
        yield "similar_ids", _joined(unknown, known.rows.select(_folded=FOLDED, _other="id"), "_folded")


def _side(rows: pl.LazyFrame, data: Sequence[str], spec: Person) -> _Side:
    names = [name for name in ("email", "id") if name in data and name != spec.key]
    values = {name: _unquoted(name) for name in names}
    if spec.key in ("id", "email"):
        values[spec.key] = pl.col("_person")
    if "email" in values:
        values["email"] = values["email"].str.to_lowercase()
    row = ["_row"] if "_row" in rows.collect_schema() else []
    return _Side(rows.select(*row, "_key", "_person", key_hash().alias(KEY_HASH), **values), frozenset(values))


def _unquoted(name: str) -> pl.Expr:
    """An identifier from its JSON text: still escaped, so the same for the same identifier. Null where there is none, or JSON's null."""
    text = pl.col(name)
    return pl.when(text.str.starts_with('"')).then(text.str.strip_prefix('"').str.strip_suffix('"'))


def _shared(now: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Rows of which another row, with another key, has the same value of an attribute."""
    return _with_twins(now.filter(pl.col(name).is_not_null()), name, "_person")


def _similar(now: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of which another row's id is the same but for case and surrounding spaces."""
    return _with_twins(now.filter(pl.col("id").is_not_null()).with_columns(_folded=FOLDED), "_folded", "id")


def _with_twins(rows: pl.LazyFrame, on: str, name: str) -> pl.LazyFrame:
    """Rows that share what is in the column `on`, but not what is in `name`."""
    rows = rows.with_columns(_hash=key_hash(on))
    rows = rows.join(repeated(rows.select("_hash")).lazy(), on="_hash", how="semi").drop("_hash")
    several = rows.group_by(on).agg(_first=pl.col(name).min(), _last=pl.col(name).max())
    several = several.filter(pl.col("_first") != pl.col("_last"))
    other = pl.when(pl.col(name) == pl.col("_first")).then("_last").otherwise("_first")
    # The order is for Polars 2.0.0, as in `duplicate_rejects`.
    return rows.join(several, on=on, maintain_order="left").with_columns(_other=other)


def _joined(rows: pl.LazyFrame, known: pl.LazyFrame, on: str) -> pl.LazyFrame:
    """Rows with one of the known others that share what is in the column `on`."""
    rows, known = (each.filter(pl.col(on).is_not_null()).with_columns(_hash=key_hash(on)) for each in (rows, known))
    shared = common(rows.select("_hash"), known.select("_hash")).lazy()
    rows, known = (each.join(shared, on="_hash", how="semi").drop("_hash") for each in (rows, known))
    found = known.join(rows.select(on), on=on, how="semi").unique(on, keep="any")
    return rows.join(found, on=on, maintain_order="left")


def _column(name: str, spec: Person) -> str:
    """The source column of an identifier."""
    if name == spec.key:
        return spec.identifiers["person"].column
    origin = spec.attributes[name] if spec.attributes is not None else name
    return origin if isinstance(origin, str) else name


def _field(problem: IdentityProblem, spec: Person) -> str:
    return _column("email" if problem in ("shared_email", "changed_email") else "id", spec)


def _message(problem: IdentityProblem, spec: Person) -> pl.Expr:
    """The problem in words, with the identifier that is in the way."""
    column, other = repr(_field(problem, spec)), pl.col("_other")
    if problem in ("shared_email", "shared_id"):
        text = numbered(f"{column} is that of {spec.key} '", other, "' too.")
    elif problem == "similar_ids":
        text = numbered(f"{column} is but for case or spaces '", other, "'.")
    elif problem == "id_like_email":
        text = pl.lit(f"{column} has the form of an email address.")
    elif problem == f"changed_{spec.key}":
        attribute = _column("email" if spec.key == "id" else "id", spec)
        text = numbered(f"{attribute!r} is known under another {column}, '", other, "'.")
    else:
        text = numbered(f"{column} was '", other, f"' before, for the same {spec.key}.")
    return pl.concat_str(text, pl.lit(" " + consequence(problem, spec)))
