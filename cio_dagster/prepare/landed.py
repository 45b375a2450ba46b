"""What a source lands as: the columns of its rows in Customer.io, by Customer.io's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from cio_dagster.prepare.attributes import attribute_dtype, attributes_of, columns_of
from cio_dagster.prepare.fields import field_dtype
from cio_dagster.specs import AnySpec


@dataclass(frozen=True)
class Landed:
    """An identifier, a field of Customer.io's own, or an attribute: what it reads back to, and the source columns it is made of."""

    name: str
    dtype: pl.DataType
    sources: list[str]


def landed(spec: AnySpec, schema: Mapping[str, pl.DataType]) -> list[Landed]:
    """The columns of a frame of this schema in Customer.io, each name once. Raises SpecError where it does not fit the spec."""
    found = [Landed(part.kind, pl.String(), [part.column]) for part in spec.identifiers.values()]
    found += [Landed(name, field_dtype(f"_{name}"), [column]) for name, column in spec.fields.items()]
    for each in attributes_of(spec, schema):
        found.append(Landed(each.name, attribute_dtype(each, spec, schema), columns_of(each.origin)))
    return list({each.name: each for each in reversed(found)}.values())[::-1]
