"""The Dagster resource that holds a workspace's credentials and limits."""

from __future__ import annotations

import math
from typing import Any

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr

from cio_dagster.deliver import Connection, check_connection
from cio_dagster.errors import SpecError
from cio_dagster.limits import BATCH_BYTES, OPERATION_BYTES


class CustomerIO(dg.ConfigurableResource):  # type: ignore[type-arg]
    """One Customer.io workspace: credentials (give them as `dg.EnvVar`), region, and how hard it may be driven.

    Rates are a second's; times are seconds; sizes are bytes.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    site_id: str = Field(description="The workspace's Site ID (Basic user of the Track API).")
    track_api_key: str = Field(repr=False, description="The Track API key (Basic password). Give it as EnvVar.")
    app_api_key: str = Field(
        default="",
        repr=False,
        description="An App API key, for collections, segments by name, and baselines. Give it as EnvVar.",
    )
    region: str = Field(default="us", description="us or eu; checked with the credentials, once a run.")
    workspace: str = Field(
        default="customerio", description="A name for the workspace: its state lives in a folder of that name."
    )
    track_url: str | None = Field(default=None, description="Another address for the Track API.")
    app_url: str | None = Field(default=None, description="Another address for the App API.")
    requests_per_second: float = Field(default=150, gt=0, description="Track API requests a second.")
    burst: int = Field(default=600, ge=1, description="Track API requests that may go at once after a pause.")
    app_requests_per_second: float = Field(
        default=10, ge=1, description="App API requests a second; Customer.io's limit is 10."
    )
    records_per_second: float | None = Field(
        default=None, ge=1, description="Also limit rows a second, for workspaces whose campaigns cannot take a flood."
    )
    concurrency: int = Field(default=32, ge=1, description="Requests in flight at a time.")
    timeout: float = Field(default=30, gt=0, description="Seconds to wait for an answer.")
    attempts: int = Field(default=8, ge=1, description="Tries of a request, the first included.")
    longest_backoff: float = Field(default=30, ge=0, description="The longest pause between two tries, in seconds.")
    batch_bytes: int = Field(default=BATCH_BYTES, ge=1_000, description="The most bytes in a v2 batch request.")
    operation_bytes: int = Field(default=OPERATION_BYTES, ge=100, description="The most bytes in one operation of a batch.")

    _environments: dict[str, int] = PrivateAttr(default_factory=dict)

    def connection(self, slots: int = 1, since: float = -math.inf) -> Connection:
        """The settings as the client takes them, with the keys as secrets; the rates are one's share where so many `slots` share them.

        since
            When the slot was taken, by time.monotonic(): what was not sent before is not this one's to send in a burst.

        Raises SpecError for a region or an address that is none (here and not before, as they may come from the environment).
        """
        if self.region not in ("us", "eu"):
            raise SpecError(f"region is {self.region!r}; it is us or eu")
        for name, url in (("track_url", self.track_url), ("app_url", self.app_url)):
            if url and not url.startswith(("http://", "https://")):
                raise SpecError(f"{name} is {url!r}; an address begins with https:// or http://")
        settings: dict[str, Any] = self.model_dump(exclude={"workspace"})
        for rate in ("requests_per_second", "app_requests_per_second", "records_per_second"):
            settings[rate] = settings[rate] and settings[rate] / slots
        settings["burst"] = max(self.burst // slots, 1)
        settings["since"] = since
        return Connection(**settings | {name: SecretStr(settings[name]) for name in ("track_api_key", "app_api_key")})

    def environment_id(self, run_id: str, connection: Connection) -> int:
        """The workspace's id, from the region call; asked for once a run. Raises DeliveryError on wrong credentials or region."""
        if run_id not in self._environments:
            self._environments[run_id] = check_connection(connection)
        return self._environments[run_id]
