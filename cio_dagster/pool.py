"""The rate budget of a workspace over all processes of a Dagster instance: a pool whose slots share it.

Dagster lets no more steps of a pool run at once than the pool has slots, whichever runs and processes they are in. So a step that takes
its share, budget / slots, keeps the sum within the budget without the steps knowing of each other: the share of the rate from when it
began, and what it has not sent since then, up to its share of the burst.
"""

from __future__ import annotations

import dagster as dg


def pool_slots(instance: dg.DagsterInstance, pool: str | None) -> int | None:
    """How many steps of a pool may run at once; None where nothing limits them.

    As Dagster has it when a step starts: the pool's own limit (`dagster instance concurrency set`, or the UI), else
    `concurrency.pools.default_limit` of dagster.yaml. With granularity `run` the limit is one of runs, whose steps nothing counts.
    """
    settings = instance.get_concurrency_config().pool_config
    granularity = settings.pool_granularity.value if settings.pool_granularity else "op"
    if pool is None or granularity == "run":
        return None
    if not instance.event_log_storage.supports_global_concurrency_limits:
        return None
    for limit in instance.event_log_storage.get_pool_limits():
        if limit.name == pool and not limit.from_default:
            return limit.limit
    return settings.default_pool_limit


def no_slots_warning(pool: str | None) -> str:
    """What to say where nothing limits how many steps write at once."""
    if pool is None:
        return (
            "This asset is in no pool, so it takes the workspace's whole rate budget, whatever else is running: give it the pool of the "
            "workspace's other assets (customerio_asset's default is pool='customerio')."
        )
    return (
        f"Nothing limits how many steps of pool {pool!r} run at once, so each takes the workspace's whole rate budget. Put into dagster.yaml "
        "`concurrency: {pools: {granularity: op, default_limit: 1}}`, or set the limit of this pool alone by "
        f"`dagster instance concurrency set {pool} 1`. With more slots, the steps share the budget."
    )
