"""The README's section on figures, as it follows from the results."""

from __future__ import annotations

from benchmarks.results import Results, number

HEADING = "## Figures\n"
IMAGES, PEERS_IMAGE, GROWTH_IMAGE = "docs/images", "bench-peers.png", "bench-growth.png"

PEERS = {
    "peer-customerio-50": "customerio (Customer.io's Python client), one person a call",
    "peer-customerio-batch-50": "customerio, in batches",
    "peer-async-50": "async-customerio, one person a call, 8 in flight",
    "peer-async-batch-50": "async-customerio, in batches, 8 in flight",
    "peer-drt-50": "drt-core to its REST destination, in batches",
    "fivetran": "Fivetran Activations, as it publishes",
}
"""The peers that the README compares with."""

LIMITS = {
    "limited-ratio": "the same sync without limits",
    "encoding-ratio": "encoding the rows as JSON alone, in memory (of the sync without limits)",
    "sending-ratio": "sending that JSON alone (of the sync without limits)",
}
"""What the README says a first sync takes as many times as long as."""


def summary(results: Results) -> str:
    """What the README shows: the first sync beside each peer, and against its limits, as ratios of one run."""
    ours = results.row("limited")
    if ours is None or ours.rate is None:
        raise ValueError("a summary needs the case people")
    lines = ["| A first sync at 150 requests/s and 50 ms an answer, against | |", "|---|--:|"]
    for name, what in PEERS.items():
        if (row := results.row(name)) and row.rate:
            lines.append(f"| {what} | {number(ours.rate / row.rate)} times as fast |")
    for name, what in LIMITS.items():
        if row := results.row(name):
            lines.append(f"| {what} | {number(row.median)} times the time |")
    return "\n".join(lines)


def section(results: Results) -> str:
    """The README's section on figures, without its heading."""
    cores, rows = results.machine.cores, results.rows_of_people
    return f"""\
`make bench` reads {rows:,} people of 8 columns from DuckDB and sends them to a sink on the same machine ({cores} cores), beside peers that send the same
rows to the same sink, each with its best settings. Ours also checks them, compares, writes a plan, logs answers and commits the snapshot; the
peers do not. Figures are ratios of medians of one run; [all of them](benchmarks/results.md) are there with machine, versions and targets.

{summary(results)}

![People a second, beside peers]({IMAGES}/{PEERS_IMAGE})

![Time and memory by the number of rows]({IMAGES}/{GROWTH_IMAGE})
"""
