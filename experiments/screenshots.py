"""Screenshots of the pages for README and docs, taken by a real Chromium of a server over a demo home."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from features.config.environment import inherited
from serving.errors import CommandError
from serving.platform.settings import Settings

WIDTH, HEIGHT = 1280, 800
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_SECONDS = 120.0


def take(settings: Settings, secret: str, folder: Path) -> list[Path]:
    """Sign in with the key `secret`, and picture the portfolio and the page of its first account.

    Raises:
        CommandError: Chromium or Playwright is not installed, or the server does not start.
    """
    program = shutil.which("chromium")
    if program is None:
        raise CommandError("Screenshots take Chromium: apt-get install chromium.")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise CommandError("Screenshots take Playwright: install what requirements-dev.lock lists.") from None
    folder.mkdir(parents=True, exist_ok=True)
    portfolio, customer = folder / "portfolio.png", folder / "customer.png"
    with _server(settings) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(f"{address}/login")
        page.fill("#key", secret)
        page.click("button.main")
        page.wait_for_selector(".accounts")
        page.screenshot(path=portfolio)
        page.click(".accounts tbody th a")
        page.wait_for_selector(".chart canvas")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=customer)
        browser.close()
    for path in (portfolio, customer):
        _shrink(path)
    return [portfolio, customer]


@contextmanager
def _server(settings: Settings) -> Iterator[str]:
    """A server of one's own on a free port, ready to answer."""
    command = [sys.executable, "-m", "serving", "run"]
    server = subprocess.Popen(
        command, env=inherited(PORT="0", KEEPWELL_LOG_LEVEL="error"), stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        said = next((line for line in server.stdout if " on http://" in line), None)
        if said is None:
            raise CommandError(f"The server over {settings.state.path} does not start.")
        address = said.split(" on ")[1].split()[0]
        deadline = time.monotonic() + _SECONDS
        while not _is_ready(address):
            if server.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"The server over {settings.state.path} does not become ready.")
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _shrink(path: Path) -> None:
    """Write the picture again with a palette: a page has few colours, and the repository stays small."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.convert("RGB").quantize(128).save(path, optimize=True)
