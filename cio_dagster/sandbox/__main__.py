"""The command ``cio-sandbox``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from cio_dagster.sandbox.auth import Credentials
from cio_dagster.sandbox.server import application
from cio_dagster.sandbox.settings import InvalidSetting, Settings
from cio_dagster.sandbox.sink import sink_application
from cio_dagster.sandbox.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox until it is told to stop."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    settings = Settings()
    try:
        settings.update(_given(options))
    except InvalidSetting as error:
        parser.error(str(error))
    if options.sink:
        app = sink_application(settings, options.delay_ms / 1000)
    else:
        credentials = Credentials(options.site_id, options.track_key, options.app_key)
        try:
            store = Store(options.state)
        except (OSError, sqlite3.Error, ValueError) as error:
            print(f"cio-sandbox cannot open {options.state}: {error}", file=sys.stderr)
            return 1
        app = application(store, settings, credentials)
    try:
        asyncio.run(_serve(app, options.host, options.port))
    except OSError as error:
        print(f"cio-sandbox cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The flags of ``cio-sandbox``."""
    parser = argparse.ArgumentParser(prog="cio-sandbox", description="A Customer.io that runs on your machine.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8090, help="the port; 0 picks a free one (default: %(default)s)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep everything in this file (default: in memory)")
    parser.add_argument("--site-id", help="the only Site ID to admit (default: any)")
    parser.add_argument("--track-key", help="the only Track API key to admit (default: any)")
    parser.add_argument("--app-key", help="the only App API key to admit (default: any)")
    parser.add_argument("--region", choices=("us", "eu"), help="the region to answer (default: us)")
    parser.add_argument("--environment-id", help="the workspace id to answer (default: 1)")
    parser.add_argument("--object-types", metavar="ID:NAME,...", help="the object types (default: 1:Accounts,2:Courses)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting; see docs/sandbox.md"
    )
    parser.add_argument("--sink", action="store_true", help="answer 200 to everything and count it, for benchmarks")
    parser.add_argument("--delay-ms", type=float, default=0.0, metavar="N", help="with --sink: wait before each answer")
    return parser


def _given(options: argparse.Namespace) -> dict[str, object]:
    given: dict[str, object] = {}
    for name in ("region", "environment_id", "object_types"):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    for pair in options.set:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidSetting(f"--set takes NAME=VALUE, not {pair!r}")
        given[name] = value
    return given


async def _serve(app: web.Application, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024, shutdown_timeout=1.0)
        await site.start()
        bound_host, bound_port = runner.addresses[0][:2]
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        print(f"cio-sandbox listening on http://{shown}:{bound_port}", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
