"""Rows behind a URL, which collections and imports can be given instead of rows."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from cio_dagster.sandbox.intake import read_json

SECONDS = 30


class DownloadFailed(Exception):
    """A URL that gave no rows."""


async def download_rows(url: str, most: int) -> Any:
    """Fetch CSV or JSON: by content type, else by the URL's extension, else JSON.

    Source: Customer.io's App OpenAPI, collections.

    Raises:
        DownloadFailed: The URL cannot be read, is too large, or holds neither.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadFailed(f"{url} is not an http or https URL")
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS)) as session,
            session.get(url) as response,
        ):
            response.raise_for_status()
            body = await response.content.read(most + 1)
            while len(body) <= most and (chunk := await response.content.read(most + 1 - len(body))):
                body += chunk
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        raise DownloadFailed(f"{url} could not be read: {error}") from error
    if len(body) > most:
        raise DownloadFailed(f"{url} is larger than {most} bytes")
    try:
        extension = urlsplit(url).path.rpartition(".")[2].lower()
        if response.content_type == "text/csv" or (response.content_type != "application/json" and extension == "csv"):
            return list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"))))
        return read_json(body)
    except ValueError as error:
        raise DownloadFailed(f"{url} holds neither CSV nor JSON: {error}") from error
