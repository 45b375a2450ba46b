"""The warehouse: databases and lakes, read as lazy frames.

Results travel as Arrow record batches, one at a time, so that memory is bounded by a batch and not by the table.

| type of DuckDB or Postgres | Polars dtype |
|---|---|
| booleans, integers, floats, text, date, time, binary | the dtype of that name and width |
| timestamp, with time zone | Datetime, Datetime in UTC |
| DECIMAL, Postgres `numeric(p, s)` | Decimal(p, s) |
| Postgres `numeric` of no fixed scale | Decimal(38, s), s being the most digits after the point that a value of the result needs |
| Postgres `money` | as `numeric` |
| HUGEINT, UHUGEINT | Decimal(38, 0) |
| uuid, json, jsonb, Postgres enum | String |
| DuckDB ENUM | Categorical |
| list and array, struct and composite, MAP | List (DuckDB's arrays: Array), Struct, Map of these |
| DuckDB's untyped NULL | Null, before DuckDB 2.0 Int32 (Postgres makes it text: String) |
| interval, timetz, bit, inet, ranges, UNION, BIGNUM, and whatever else Arrow cannot say | String: the engine's own text for it |

What has no dtype is an error that names the column and a cast that helps: a type of the last row, uuid or HUGEINT inside a struct
or a list (Postgres arrays of the last row's types become lists of text); `money` or `oid` inside a Postgres composite; a Postgres
array of several dimensions; NaN or infinity in `numeric`, or more than 38 digits; dates and times outside the years 1 to 9999, such
as 'infinity'; Postgres' time 24:00.

Python 3.10 has no newer ADBC driver for Postgres than 1.12. With that, `numeric(p, s)` is staged as `numeric` of no fixed scale, and
two things are errors that say so: Postgres composites, and list parameters with None in them.

SQLite's dtypes are in `cio_dagster.warehouse.sqlite`. Of the other databases, a column's dtype is that of the Arrow type that their driver
gives.
"""

from cio_dagster.warehouse.errors import WarehouseError
from cio_dagster.warehouse.resource import Warehouse

__all__ = ["Warehouse", "WarehouseError"]
