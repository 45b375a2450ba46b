"""The asset checks of Customer.io assets: one step after each asset's makes them all.

A step of its own, so that a run is not held up by what Customer.io takes its time over, and so that it can be run alone, at any time after.
"""

# No postponed annotations here: Dagster looks at that of `context` itself.
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from cio_dagster.checks.applied import applied_in_customerio, unsure
from cio_dagster.checks.freshness import Freshness, source_is_fresh
from cio_dagster.checks.last_run import reports_to_check
from cio_dagster.checks.readback import Look
from cio_dagster.checks.verdicts import Verdict, delivered_as_planned, no_duplicate_identities, within_guards
from cio_dagster.errors import SpecError, SyncError
from cio_dagster.io_manager import WITHHELD, CustomerIOIOManager
from cio_dagster.specs import AnySpec, Person, find_spec

DELIVERED, IDENTITIES, GUARDS, FRESH, APPLIED = (
    "delivered_as_planned",
    "no_duplicate_identities",
    "within_guards",
    "source_is_fresh",
    "applied_in_customerio",
)

DESCRIPTIONS = {
    DELIVERED: "Customer.io accepted every operation that was planned.",
    IDENTITIES: "No two rows are, or become, the same person.",
    GUARDS: "No guard is near its limit, beyond which it stops runs.",
    FRESH: "The newest row of the source is young enough.",
    APPLIED: "Customer.io holds what it accepted, as far as it was read back.",
}
"""Every check, in the order in which they are made: the one that may take its time comes last."""

ROWS = 50
"""Rows in the table of a check."""


def build_customerio_checks(
    assets: Iterable[Any],
    look: Look | None = None,
    *,
    freshness: Mapping[Any, Freshness] | None = None,
    early: float = 0.5,
    leave_out: Collection[str] = (),
) -> list[dg.AssetChecksDefinition]:
    """The checks of each Customer.io asset among these, for `dg.Definitions(asset_checks=...)`.

    | check | not passed |
    |---|---|
    | `applied_in_customerio` | red: what Customer.io accepted is not there; those rows are pending again. A warning: it could not be read |
    | `delivered_as_planned` | red: operations were refused, or are pending |
    | `no_duplicate_identities` | a warning: people share an identifier, or have changed one. For people |
    | `within_guards` | a warning: the run did more than `early` of what a guard lets pass |
    | `source_is_fresh` | a warning: the newest row of the source is too old. For assets in `freshness` |

    look
        How much is read back, by how many App API requests, and for how long a difference may still go away (see `Look`).
    freshness
        How old the source of an asset may be: asset (or its key) to Freshness.
    early
        The share of a guard's limit, from 0 to 1, from which on `within_guards` warns.
    leave_out
        Names of checks that are not wanted.

    They are about every partition that the run wrote; alone, about those that the last run wrote. None blocks what is downstream. One step for each
    asset makes them all, and can be asked for some. It takes a slot of the asset's pool, whose rate budget the reading back shares.
    Raises SpecError for a check that is not there to be left out, and for freshness of an asset that is not among these.
    """
    if unknown := sorted(set(leave_out) - set(DESCRIPTIONS)):
        raise SpecError(f"There is no check {', '.join(unknown)} to leave out; there are {', '.join(DESCRIPTIONS)}.")
    sources = {dg.AssetKey.from_coercible_or_definition(asset): each for asset, each in (freshness or {}).items()}
    found = [
        (asset, key, spec)
        for asset in assets
        if isinstance(asset, dg.AssetsDefinition)
        for key in sorted(asset.keys)
        if (spec := find_spec(asset.metadata_by_key.get(key) or {})) is not None
    ]
    if strangers := sorted(key.to_user_string() for key in sources.keys() - {key for _, key, _ in found}):
        raise SpecError(f"freshness names {', '.join(strangers)}, which are not among the Customer.io assets to be checked.")
    checks = []
    for asset, key, spec in found:
        missing = {*leave_out, *(() if isinstance(spec, Person) else (IDENTITIES,)), *(() if key in sources else (FRESH,))}
        if names := [name for name in DESCRIPTIONS if name not in missing]:
            checks.append(_checks(asset, key, spec, names, look or Look(), sources.get(key), early))
    return checks


def _checks(
    asset: dg.AssetsDefinition,
    key: dg.AssetKey,
    spec: AnySpec,
    names: list[str],
    look: Look,
    freshness: Freshness | None,
    early: float,
) -> dg.AssetChecksDefinition:
    manager_key = asset.get_io_manager_key_for_asset_key(key)
    pool = asset.op.pool if APPLIED in names else None

    @dg.multi_asset_check(
        name=f"{key.to_python_identifier()}_checks",
        specs=[dg.AssetCheckSpec(name, asset=key, description=DESCRIPTIONS[name]) for name in names],
        required_resource_keys={manager_key, *([freshness.warehouse] if freshness is not None and FRESH in names else [])},
        pool=pool,
        can_subset=True,
    )
    def customerio_checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        manager: CustomerIOIOManager = getattr(context.resources, manager_key)
        reports, in_run = reports_to_check(context, manager, key)
        checks: dict[str, Callable[[], dg.AssetCheckResult]] = {
            DELIVERED: lambda: _result(delivered_as_planned(reports), dg.AssetCheckSeverity.ERROR),
            IDENTITIES: lambda: _result(no_duplicate_identities(reports, shown=manager.show_values)),
            GUARDS: lambda: _result(within_guards(reports, spec, early=early)),
            APPLIED: lambda: applied_in_customerio(context, manager, key, spec, reports, look, pool),
        }
        asked = {each.name for each in context.selected_asset_check_keys}
        for name in (each for each in names if each in asked):
            if name == FRESH:
                assert freshness is not None
                result = _fresh(getattr(context.resources, freshness.warehouse), freshness, shown=manager.show_values)
            elif reports:
                result = checks[name]()
            elif in_run:
                result = dg.AssetCheckResult(
                    passed=True, description="This run delivered nothing, so there is nothing to check."
                )
            else:
                result = unsure("No run has delivered anything yet, so there is nothing to check.")
            yield result._replace(asset_key=key, check_name=name)

    return customerio_checks


def _fresh(warehouse: Any, freshness: Freshness, *, shown: bool) -> dg.AssetCheckResult:
    now = datetime.now(timezone.utc)
    try:
        verdict, newest = source_is_fresh(warehouse, freshness, now)
    except SyncError as error:
        # What a database says may quote values.
        return unsure(f"It could not be found out. {error if shown else type(error).__name__ + ', ' + WITHHELD}")
    result = _result(verdict)
    # As Dagster's own freshness checks name it.
    times = {} if newest is None else {"dagster/last_updated_timestamp": dg.MetadataValue.timestamp(newest)}
    return result._replace(metadata={**result.metadata, **times})


def _result(verdict: Verdict, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = dict(verdict.numbers)
    if verdict.rows:
        names = list(dict.fromkeys(name for row in verdict.rows for name in row))
        records = [dg.TableRecord({name: row.get(name, "") for name in names}) for row in verdict.rows[:ROWS]]
        metadata["table"] = dg.MetadataValue.table(records)
    return dg.AssetCheckResult(passed=verdict.passed, severity=severity, description=verdict.text, metadata=metadata)
