"""Debian's Chromium, driven by playwright as a user would: headless, one page at a fixed size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, TimeoutError, expect, sync_playwright

PICTURES = Path(__file__).parents[2] / "docs" / "images"
PATIENCE = 120_000
"""Milliseconds to wait for what must come; a machine may be slow, but nothing waits for longer than it takes."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def open_browser() -> Iterator[Page]:
    """A page of a new browser. Without Chromium the test is skipped, or fails where CIO_BROWSER=required says that it must be there."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CIO_BROWSER") == "required":
            pytest.fail("Chromium is missing: apt-get install chromium")
        pytest.skip("Chromium is missing: apt-get install chromium")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, timezone_id="UTC", locale="en-GB")
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def picture(page: Page, name: str, *, at: Locator | None = None) -> None:
    """With CIO_SCREENSHOTS set (`make screenshots`), keep the page as docs/images/NAME.png, scrolled to a place."""
    if "CIO_SCREENSHOTS" not in os.environ:
        return
    if at is not None:
        at.scroll_into_view_if_needed()
    # What is drawn last, such as the states of a lineage. The UI polls, so it may never be idle.
    with suppress(TimeoutError):
        page.wait_for_load_state("networkidle", timeout=5_000)
    page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")
