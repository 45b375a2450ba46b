"""Every error this package raises.

    SyncError
      SpecError              a sync spec, or the query under it, cannot work; raised when definitions load or before planning
      WarehouseError         the warehouse refused a query, or a driver is missing (see `cio_dagster.warehouse`)
      AlertError             an alert could not be sent (see `cio_dagster.alerts`)
      DryRunOnly             a branch deployment may plan only; nothing was sent
      GuardError             the plan would do more harm than allowed; nothing was sent
      PlanChanged            what is to be applied is not what a dry run showed any more; nothing was sent
      StateUnavailable       the object store of the state could not be reached
      StateError             the state cannot be used as it is; nothing was sent
        LockedError          another run is writing this asset partition
      TooManyRejected        more rows were rejected than `max_rejected` allows; what was accepted is kept
      DeliveryError          Customer.io could not take the plan to its end; what it accepted is kept
        CredentialsRefused   401 or 403
        RegionMismatch       the workspace lives in the other region
        RequestRefused       an answer that no retry and no splitting can help
        Unavailable          timeouts, dropped connections, 408, 429 and 5xx beyond the last retry

Each carries fields beside its text. None ever holds a credential.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

Would: TypeAlias = Literal["remove", "create", "change", "send"]
"""What a guard stopped."""


class SyncError(Exception):
    """Base of all errors of this package."""


class SpecError(SyncError):
    """A sync spec is wrong, or does not fit the frame it is given."""


class DryRunOnly(SyncError):
    """A run in a branch deployment was not a dry run, and the IO manager does not allow that. Nothing was sent."""


class GuardError(SyncError):
    """A guard stopped the plan before anything was sent.

    `guard` is its name; `planned` the rows that the plan would (`would`) remove, create, change or send, and `known` the rows in the snapshot;
    `option` the run option that lifts the guard, if one does; `attributes` those that changed most, and in how many rows.
    """

    def __init__(
        self,
        message: str,
        *,
        guard: str,
        would: Would,
        planned: int,
        known: int,
        option: str | None = None,
        attributes: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.guard = guard
        self.would = would
        self.planned = planned
        self.known = known
        self.option = option
        self.attributes = dict(attributes or {})


class PlanChanged(SyncError):
    """The plan that a run was to apply is not what the source's plan would be now. Nothing was sent.

    `plan` is its id; `differing` the number of operations that differ; `examples` some of them: `key`, and the operation that was shown
    (`shown`) and that would be sent now (`now`), each empty where there is none; the same in both if it would send something else.
    """

    def __init__(self, plan: str, differing: int, examples: Sequence[Mapping[str, str]]) -> None:
        self.plan = plan
        self.differing = differing
        self.examples = [dict(each) for each in examples]
        such = "; ".join(
            f"{each['key']!r}: shown {each['shown'] or 'none'}, now {each['now'] or 'none'}"
            + (" of something else" if each["shown"] == each["now"] else "")
            for each in self.examples
        )
        super().__init__(
            f"Nothing was sent: by now the source's plan differs from plan {plan} in {differing:,} operation{'s' * (differing != 1)} "
            f"({such}). Do another dry run, look at what it shows, and apply that; or run without `apply`, to send what the source says now."
        )


class TooManyRejected(SyncError):
    """More rows were rejected than the spec's `max_rejected` allows. What was accepted is kept."""


class StateError(SyncError):
    """The state of an asset partition is missing, unreadable or of another kind."""


class StateUnavailable(SyncError):
    """The object store of the state could not be reached. What Customer.io accepted is in the plan's log, as far as that came."""


class LockedError(StateError):
    """Another run holds the lock of this asset partition. `holder` says who, since when."""

    def __init__(self, message: str, *, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class DeliveryError(SyncError):
    """Customer.io could not take the whole plan. `status` is the HTTP status, or None where there was no answer."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class CredentialsRefused(DeliveryError):
    """Customer.io answered 401 or 403."""


class RegionMismatch(DeliveryError):
    """The workspace lives in another region than the one configured."""


class RequestRefused(DeliveryError):
    """Customer.io refused a request as a whole, for a reason that is not one row's."""


class Unavailable(DeliveryError):
    """No usable answer came before the retries were used up."""
