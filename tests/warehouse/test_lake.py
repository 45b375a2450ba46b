"""Lakes: Parquet, Delta and Iceberg on disk and in a real S3-speaking server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from cio_dagster.warehouse import Warehouse, WarehouseError

ORDERS = pl.DataFrame({"order_id": [1, 2, 3], "total": [10.0, None, 2.5], "day": [date(2024, 1, day) for day in (1, 1, 2)]})
SECRET = "s3cr3t-p4ss"


def rows(frame: pl.LazyFrame) -> list[tuple[object, ...]]:
    return frame.select(ORDERS.columns).sort("order_id").collect().rows()


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """Polars' options of an object store with a bucket `lake`."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").disabled = True
    server.start()
    host, port = server.get_host_and_port()
    url, login = f"http://{host}:{port}", {"aws_access_key_id": "some-access-id", "aws_secret_access_key": SECRET}
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **login).create_bucket(Bucket="lake")
    yield {"aws_endpoint_url": url, "aws_region": "us-east-1", "aws_allow_http": "true", **login}
    server.stop()


def test_parquet_folders_and_files(tmp_path: Path) -> None:
    warehouse = Warehouse(url=f"parquet:///{tmp_path}")
    ORDERS.lazy().sink_parquet(pl.PartitionBy(tmp_path / "orders", key="day"), mkdir=True)
    ORDERS.write_parquet(tmp_path / "flat.parquet")
    assert rows(warehouse.table("orders")) == ORDERS.rows()
    assert rows(warehouse.table("flat.parquet")) == ORDERS.rows()
    day = warehouse.table("orders").filter(pl.col("day") == date(2024, 1, 2))
    assert rows(day) == ORDERS.rows()[2:]
    assert rows(warehouse.table("orders").sql("select * from self where total > 5")) == ORDERS.rows()[:1]


def test_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ORDERS.write_parquet("flat.parquet")
    assert rows(Warehouse(url="parquet:///").table("flat.parquet")) == ORDERS.rows()


def test_delta_is_read_as_it_was_when_asked(tmp_path: Path) -> None:
    warehouse = Warehouse(url=f"delta:///{tmp_path}/lake")
    (tmp_path / "lake").mkdir()
    ORDERS.write_delta(tmp_path / "lake" / "orders")
    frame = warehouse.table("orders")
    ORDERS.head(1).write_delta(tmp_path / "lake" / "orders", mode="overwrite")
    assert rows(frame) == ORDERS.rows()
    assert rows(warehouse.table("orders")) == ORDERS.rows()[:1]


def test_iceberg_by_catalog_folder_and_metadata_file(tmp_path: Path) -> None:
    load_catalog = pytest.importorskip("pyiceberg.catalog").load_catalog
    uri = f"sqlite:///{tmp_path}/catalog.db"
    catalog = load_catalog("shop", uri=uri, warehouse=str(tmp_path / "lake"))
    catalog.create_namespace("sales")
    table = catalog.create_table("sales.orders", schema=ORDERS.to_arrow().schema)
    table.append(ORDERS.to_arrow())
    assert rows(Warehouse(url=f"iceberg+{uri}", options={"name": "shop"}).table("sales.orders")) == ORDERS.rows()
    folder, _, metadata = table.metadata_location.removeprefix("file://").rpartition("/metadata/")
    assert rows(Warehouse(url=f"iceberg:///{folder}").table(f"metadata/{metadata}")) == ORDERS.rows()
    (Path(folder) / "metadata" / "version-hint.text").write_text(metadata)
    assert rows(Warehouse(url=f"iceberg:///{Path(folder).parent}").table("orders")) == ORDERS.rows()
    with pytest.raises(WarehouseError, match=r"table 'sales\.nope': .*nope"):
        Warehouse(url=f"iceberg+{uri}", options={"name": "shop"}).table("sales.nope")


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_object_store(s3: dict[str, str], kind: str) -> None:
    place = f"s3://lake/{kind}/orders"
    if kind == "parquet":
        ORDERS.write_parquet(f"{place}/a.parquet", storage_options=s3)
    else:
        ORDERS.write_delta(place, storage_options={**s3, "aws_conditional_put": "etag"})
    warehouse = Warehouse(url=f"{kind}+s3://lake/{kind}", options=s3)
    assert rows(warehouse.table("orders")) == ORDERS.rows()
    with pytest.raises(WarehouseError, match="table 'nope': ") as caught:
        warehouse.table("nope")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", ["parquet", "delta", "iceberg"])
def test_missing_table(tmp_path: Path, kind: str) -> None:
    with pytest.raises(WarehouseError, match="table 'nope': "):
        Warehouse(url=f"{kind}:///{tmp_path}").table("nope")


def test_what_does_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match=r"table 't': tables by name are a lake's; of a database, warehouse\.query"):
        Warehouse(url="duckdb://").table("t")
    with pytest.raises(WarehouseError, match=r"a lake has no SQL of its own: warehouse\.table"):
        Warehouse(url=f"delta:///{tmp_path}").query("select 1")
    with pytest.raises(WarehouseError, match="three slashes"):
        Warehouse(url="parquet://lake").table("t")
