"""docs/scale.md, as it follows from the results: `python -m benchmarks.scale` writes it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.results import Results
from benchmarks.scale.model import (
    BILLION,
    CHANGES,
    DAY,
    REQUESTS_PER_SECOND,
    Assumed,
    Limit,
    Measured,
    Prices,
    first_run,
    full_run,
    incremental_run,
    kept,
    memory,
    number,
    request_dollars_day,
    requests_for,
    scanned,
    seconds_at,
    size,
    store_dollars_month,
    table,
    words,
)
from benchmarks.scale.simulation import Plant, fewest_workers, most_changes, simulate
from cio_dagster.limits import BATCH_BYTES, OPERATION_BYTES, SEGMENT_IDS_PER_REQUEST

PAGE = Path(__file__).parent.parent.parent / "docs" / "scale.md"
PARTITIONS = 100
TRACK = "Track API document, info"


def limits(measured: Measured) -> list[Limit]:
    """The published ones, and the rows that a call carries."""
    batch, largest = measured.rows_per_request, BATCH_BYTES // OPERATION_BYTES
    return [
        Limit("Track, documented", TRACK, 1_000, batch, f"a v2 batch of {number(batch)} rows"),
        Limit("Track, our default", "`requests_per_second`", REQUESTS_PER_SECOND, batch, "the same"),
        Limit("Track, in a list of limits of others", "said to be of the API's overview page", 100, batch, "the same"),
        Limit("Track, 2018", "customerio-python, issue 44", 30, batch, "the same"),
        Limit("Track, rows of 32 kB each", TRACK, 1_000, largest, f"a v2 batch of {largest} rows"),
        Limit("Track v1, members of segments", TRACK, 1_000, SEGMENT_IDS_PER_REQUEST, f"{SEGMENT_IDS_PER_REQUEST:,} ids"),
        Limit("Track v1, anonymous events", TRACK, 1_000, 1, "one event"),
        Limit("App, reading a segment", "App API document, segments", 10, 30_000, "a page of 30,000 members"),
        Limit("App, reading people", "App API, customers/attributes", 10, 100, "100 people"),
        Limit("App, reading activities", "App API document, activities", 10, 100, "a page of 100"),
    ]


def partitions_table(measured: Measured, assumed: Assumed) -> str:
    """Sizes of partitions, and what the day takes with them."""
    rows = []
    for count in (10, 30, 100, 300, 1_000):
        each = BILLION / count
        night = full_run(measured, assumed, each, CHANGES / count)
        hour = full_run(measured, assumed, each, CHANGES / count / 24)
        some = incremental_run(measured, assumed, each, CHANGES / count / 24)
        seconds = [run.seconds(math.inf) for run in (night, hour, some)]
        hours = [runs * count * took / 3_600 for runs, took in zip((1, 24, 24), seconds, strict=True)]
        beyond = "" if each <= max(measured.plan) else " *"
        rows.append(
            [f"{count:,}", f"{each / 1e6:,.1f} million", f"{number(memory(measured, each) / 1_000)} GB{beyond}"]
            + [f"{words(seconds[0])}{beyond}"]
            + [f"{number(each_hours)} h{beyond}" for each_hours in hours]
        )
    head = [
        "Partitions",
        "people each",
        "memory of a run",
        "a nightly run",
        "all, nightly",
        "all, hourly",
        "all, hourly, incremental",
    ]
    return table(head, rows)


def limits_table(measured: Measured) -> str:
    """How long each limit takes for all people, and for a day's changes."""
    rows = []
    for limit in limits(measured):
        day = seconds_at(limit, CHANGES)
        share = f"{number(100 * day / DAY)} %"
        rows.append(
            [
                limit.what,
                limit.source,
                limit.call,
                f"{limit.per_second:,.0f}/s",
                words(seconds_at(limit, BILLION)),
                words(day),
                share,
            ]
        )
    head = ["Limit", "from", "a call is", "calls", "1 billion", "100 million", "of a day"]
    return table(head, rows, words=3)


def acceptance_table() -> str:
    """What the workspace takes, in rows a second, which nobody publishes."""
    rows = []
    for rate in (117, 1_000, 2_000, 10_000, 50_000):
        day = CHANGES / rate
        keeps = f"{number(100 * day / DAY)} %" if day <= DAY else "never done"
        rows.append([f"{rate:,}", words(BILLION / rate), words(day), keeps])
    return table(["Rows a second", "first load of 1 billion", "a day's 100 million", "of a day"], rows)


def sizes_table() -> str:
    """Requests by the size of rows."""
    rows = []
    for bytes_ in (100, 267, 1_000, 5_000, OPERATION_BYTES):
        first, day = requests_for(BILLION, bytes_), requests_for(CHANGES, bytes_)
        rows.append(
            [f"{bytes_:,}", f"{first / 1e6:,.2f} million", words(first / REQUESTS_PER_SECOND), f"{number(day / DAY)}/s"]
        )
    return table(
        ["Bytes a row", "requests of a first load", f"at {REQUESTS_PER_SECOND}/s", "steady, for 100 million a day"], rows
    )


def warehouse_table(assumed: Assumed, prices: Prices) -> str:
    """Bytes and dollars of a day's reads."""
    rows = []
    for what, waves in (("once a day", 1), ("every hour", 24)):
        for how, reads in (
            ("all, by one query", waves),
            ("all, by a query a partition, where each reads its own part", waves),
            ("all, by a query a partition, where each scans the table", waves * PARTITIONS),
            ("what changed, where the warehouse finds it without a scan, and all once a day", 1 + CHANGES / BILLION),
            ("what changed, where each query scans the table", waves * PARTITIONS),
        ):
            found = scanned(assumed, prices, BILLION, reads)
            rows.append([f"{what}: {how}", size(found.bytes), f"${number(found.dollars)}", f"${number(found.dollars * 30)}"])
    return table(["Read", "scanned a day", "a day", "a month"], rows)


def state_table(measured: Measured, assumed: Assumed, prices: Prices) -> str:
    """What is kept, and what it costs."""
    rows = []
    for what, waves in (("1 (nightly)", 1), ("4", 4), ("24 (hourly)", 24), ("96 (every quarter)", 96)):
        found = kept(measured, BILLION, CHANGES, waves, PARTITIONS, at_once=4)
        runs = waves * PARTITIONS
        kept_month = store_dollars_month(prices, found.held)
        requests = runs * (assumed.store_puts + assumed.store_gets) / DAY
        requests_month = 30 * request_dollars_day(assumed, prices, runs)
        sizes = [size(each) for each in (found.snapshot, found.history, found.outcomes_year, found.written_day)]
        rows.append([what, *sizes, f"${number(kept_month)}", f"{number(requests)}/s", f"${number(requests_month)}"])
    head = [
        "Waves a day",
        "snapshot",
        "its history",
        "outcomes of a year",
        "written a day",
        "kept, a month",
        "requests",
        "these, a month",
    ]
    return table(head, rows)


def day_table(measured: Measured, assumed: Assumed) -> str:
    """The simulated day."""
    rows = []
    for what, plant in (
        ("one nightly wave, 1 worker", Plant(waves=1, workers=1)),
        ("one nightly wave, 4 workers", Plant(waves=1, workers=4)),
        ("hourly, 1 worker", Plant(workers=1)),
        ("hourly, 2 workers", Plant(workers=2)),
        ("hourly, 4 workers", Plant()),
        ("hourly, 2 workers, incremental", Plant(workers=2, incremental=True)),
        ("every quarter of an hour, 8 workers, incremental", Plant(workers=8, waves=96, incremental=True)),
        ("hourly, 4 workers, the workspace takes 2,000 rows/s", Plant(rows_per_second=2_000)),
        ("hourly, 4 workers, the workspace takes 1,000 rows/s", Plant(rows_per_second=1_000)),
    ):
        found = simulate(plant, measured, assumed)
        keeps_up = "yes" if found.keeps_up else f"no: {number(100 * found.skipped)} % of runs are late"
        half, most, waiting = found.latency(0.5), found.latency(0.99), max(rows for _, rows in found.backlog)
        rows.append(
            [what, keeps_up, words(half), words(most), f"{number(waiting / 1e6)} million", f"{number(100 * found.busy)} %"]
        )
    return table(["Plant", "keeps up", "half of the changes within", "99 % within", "most that wait", "workers busy"], rows)


def breaking_table(measured: Measured, assumed: Assumed) -> str:
    """The most changes a day, and the fewest workers."""
    rows = []
    for what, plant in (
        (f"hourly, 4 workers, {REQUESTS_PER_SECOND} requests/s", Plant()),
        ("the same, a request for each row (anonymous events), 1,000 requests/s", Plant(rows_per_second=1_000)),
        ("the same, the workspace takes 2,000 rows/s", Plant(rows_per_second=2_000)),
        ("the same, 2,000 rows/s, 8 workers", Plant(rows_per_second=2_000, workers=8)),
        ("the same, 10,000 rows/s", Plant(rows_per_second=10_000)),
        ("one nightly wave, 4 workers, 2,000 rows/s", Plant(waves=1, rows_per_second=2_000)),
        ("one nightly wave, 4 workers, 10,000 rows/s", Plant(waves=1, rows_per_second=10_000)),
    ):
        most = most_changes(plant, measured, assumed)
        rows.append([what, "everybody" if most == plant.people else f"{number(most / 1e6)} million"])
    return table([f"1 billion people in {PARTITIONS} partitions", "changes a day, at most"], rows)


def workers_table(measured: Measured, assumed: Assumed) -> str:
    """The fewest workers by partitions and waves."""
    rows = []
    for partitions in (30, 100, 300):
        plants = [Plant(partitions=partitions, waves=waves) for waves in (24, 96)]
        plants += [replace(plant, incremental=True) for plant in plants]
        counts = [fewest_workers(plant, measured, assumed, most=24) for plant in plants]
        rows.append([f"{partitions}", *("more than 24" if count is None else str(count) for count in counts)])
    head = ["Partitions", "hourly", "every quarter", "hourly, incremental", "every quarter, incremental"]
    return table(head, rows)


class Simulated(NamedTuple):
    """The tables that the simulation fills, which take a while."""

    day: str
    breaking: str
    workers: str


def simulated(measured: Measured, assumed: Assumed) -> Simulated:
    """Those tables."""
    return Simulated(day_table(measured, assumed), breaking_table(measured, assumed), workers_table(measured, assumed))


def page(results: Results, tables: Simulated | None = None) -> str:
    """The whole page. By default what is simulated is simulated anew."""
    measured, assumed, prices = Measured.of(results), Assumed(), Prices()
    tables = tables or simulated(measured, assumed)
    each = BILLION / PARTITIONS
    first, night = first_run(measured, assumed, each), full_run(measured, assumed, each, CHANGES / PARTITIONS)
    nightly, hourly = (kept(measured, BILLION, CHANGES, waves, PARTITIONS, 4) for waves in (1, 24))
    requests = BILLION / measured.rows_per_request
    clustered, unclustered = scanned(assumed, prices, BILLION, 24), scanned(assumed, prices, BILLION, 24 * PARTITIONS)
    return f"""\
# Scale

What 1 billion people and 100 million changes a day would take. **Nobody has run this**: it is computed from what was measured up to 10 million people on one machine of 2 cores, and
simulated. `python -m benchmarks.scale` writes this page from [the figures](../benchmarks/results.json), and a test compares them.

## In short

- **{PARTITIONS} partitions** by hash or by range of the key (`hash_partitions`, `range_partitions`) of {each / 1e6:.0f} million people each, the largest size that was measured. A run takes {number(memory(measured, each) / 1_000)} GB of memory, and {words(night.seconds(math.inf))} a night, with {number(assumed.start_seconds)} s to start.
- **One worker** does a nightly wave in {words(night.seconds(math.inf) * PARTITIONS)}; four do hourly waves, and lose one without falling behind.
- **The first load** is {requests / 1e6:.2f} million requests. At {REQUESTS_PER_SECOND} a second these are {words(requests / REQUESTS_PER_SECOND)}; four workers need {words(first.seconds(math.inf) * PARTITIONS / 4)} to make and commit them.
- **It breaks first** where nothing is published: how many rows a second the workspace takes. Below {CHANGES / DAY:,.0f} a second, 100 million changes never fit into a day.
- **It breaks second** in money: a hash partition's query that scans the whole table costs ${number(unclustered.dollars)} a day by the hour, where one that reads its own part costs ${number(clustered.dollars)}.
- **It breaks third** in the state: each commit writes its partition's snapshot anew, so the history of 30 days is {size(nightly.history)} with nightly waves, and {size(hourly.history)} with hourly ones.

## What the numbers are

| | | |
|---|---|---|
| measured | seconds of each room, memory, at 0.1, 1 and 10 million people of 8 columns; bytes of snapshot ({measured.snapshot_bytes:.1f} a row), outcomes ({measured.outcomes_bytes:.1f} a line), plan ({measured.plan_bytes:.0f} an operation) and requests ({measured.request_bytes:.0f} a row), with ids and e-mails that do not compress; a sync that reads the 1 % that changed, against a whole one ({measured.incremental:.2f} times the time) | [results](../benchmarks/results.md) |
| extrapolated | time beyond 10 million rows in proportion, memory along the line of its logarithms (marked \\*); between 1 % and 100 % changed on a line | [model.py](../benchmarks/scale/model.py) |
| assumed | {number(assumed.start_seconds)} s until a run's first line (a pod, Python, Dagster); {assumed.store_puts} writes and {assumed.store_gets} reads of the object store a run; a warehouse that counts {assumed.logical_bytes} bytes for a row; a source and a Customer.io that are never the slower side, but where it says so | `Assumed` there |
| published | Customer.io's limits, each with its source below; list prices in US dollars: BigQuery on demand ${prices.scan_tib}/TiB, S3 Standard ${prices.stored_gb_month}/GB a month, ${prices.puts_1000} a thousand writes and ${prices.gets_1000} a thousand reads (us-east-1), as adriennevermorel.com and devnotes.tech quote cloud.google.com/bigquery/pricing and aws.amazon.com/s3/pricing, looked up in November 2026; look yours up, they are arguments of the model | `Prices` there |

## Partitions

What runs take without waiting for Customer.io, on machines like the one that was measured, 100 million changes a day. "All" is hours of one worker a day.

{partitions_table(measured, assumed)}

More people a partition are more than was measured, and more memory; fewer are more runs, each with its start. At {PARTITIONS}, starting is half of it. An incremental read spares reading and
comparing the rows that did not change; the snapshot is read and written whole all the same.

## Customer.io's limits

{limits_table(measured)}

Track's limit is of requests ("not strictly enforced"; who goes beyond for long may be throttled, dropped or blocked), and a batch takes what fits into {BATCH_BYTES // 1_000} kB:

{sizes_table()}

So by the published limits alone, a billion people arrive within an hour or two. That is not to be believed: **how many rows a second a workspace takes is not published**, nor how many
operations a batch may have. `records_per_second` keeps to whatever Customer.io tells you:

{acceptance_table()}

117 is what Fivetran publishes for its own connector (7,000 a minute). What does not scale whatever the workspace takes: **anonymous events**, one a call, of which a day has room for
{1_000 * DAY / 1e6:,.1f} million at 1,000 a second; **reading people back**, so that checks look at samples; **collections**, 10 MB each and 50 a workspace.

## The warehouse

{warehouse_table(assumed, prices)}

A predicate on a hash of the key is no help to a warehouse whose tables are not laid out by it: every partition's query scans all. Range partitions by the key, on a table that is clustered
(Snowflake, BigQuery) or sorted (Redshift) by the key, read their own part; so do hash partitions where the MD5 of the key is a stored column that the table is clustered by, and the query asks
for it between `$partition_start` and `$partition_end`. An incremental read saves
money where the table is partitioned or clustered by the time of the last change. A warehouse that bills time (Snowflake) costs the seconds that the queries of a wave take, times the credits of
its size (1 an hour for X-Small, 2 for Small, ...), times your price of a credit: half as many waves are half the money there too.

## The state

In an object store, after a year of 100 million changes a day:

{state_table(measured, assumed, prices)}

- **The history** is the cost: every commit writes the partition's snapshot anew, and versions of 30 days can be read. A wave in which a partition has no change writes nothing.
- **Outcomes** are never removed: {size(hourly.outcomes_year)} a year. They are Delta tables; delete old rows, or archive them, with any engine.
- **Plans** under way take {size(nightly.plans)} of the workers' disks together in a nightly wave, and {size(measured.plan_bytes * each)} each in the first load.
- **Requests** are no limit: Amazon documents 3,500 writes a second for a prefix of S3, which would take {3_500 * night.seconds(math.inf) / assumed.store_puts:,.0f} workers at once.

## A day, simulated

[simulation.py](../benchmarks/scale/simulation.py) lets a day pass: changes come in evenly, {PARTITIONS} partitions are due in waves, one run in fifty takes five times as long, and one worker (of several) dies
five minutes into the wave at noon. Times are from the change in the warehouse to Customer.io's acceptance, at {REQUESTS_PER_SECOND} requests a second shared evenly by the workers.

{tables.day}

![What waits through the day](images/scale-backlog.png)

A run is late that is due while its partition's last one is not done: that wave passes it by, and the next takes both. How late a change is, is how seldom waves come; the rest is
minutes. A slot has its share of the rate and of `records_per_second` alone, and does not pass on what it does not use while it
reads, compares and commits, nor when its worker is dead: so more workers make more of the same rate. The most that keeps up, by halving:

{tables.breaking}

And the fewest workers for 100 million changes a day, one of which dies:

{tables.workers}

## What one would do

| Breaks | At | Do |
|---|---|---|
| the rate that the workspace takes | below {CHANGES / DAY:,.0f} rows/s | ask Customer.io before the first load; send fewer changes: map only what campaigns use, round what flickers, and let `max_changed` watch; several workspaces |
| warehouse cost | hash partitions without a layout, hourly | range partitions of a clustered table, or a stored hash; incremental reads; fewer waves |
| history of the snapshot | many waves a day | fewer waves; partitions whose rows change together, such as by region or activity, so that quiet ones write nothing; then, in this package: a shorter history, and commits that write changed rows only (Delta's deletion vectors) |
| the even split of the rate | the workspace takes little more than what changes | more workers and slots than the times alone ask for |
| starts of runs | {PARTITIONS * 10:,} partitions | larger partitions; several partitions a run ([Backfills](recipes/backfills.md)) |
| memory | beyond 10 million rows a partition | more partitions |
| Dagster's Postgres | not measured | its retention settings, fewer waves |
"""
