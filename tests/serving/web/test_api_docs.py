"""The page of the API's documentation is all ours: nothing from elsewhere, under a policy that allows nothing else."""

from __future__ import annotations

import re

import httpx
from playwright.sync_api import Browser

from ..conftest import Running


def test_the_docs_load_only_what_this_server_has(running: Running) -> None:
    answer = httpx.get(f"{running.url}/docs")
    assert answer.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert any("swagger-ui.js" in address for address in loaded)
    assert all(address.startswith("/static/") for address in loaded)
    assert all(httpx.get(running.url + address).status_code == 200 for address in loaded)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy.partition("script-src")[2].partition(";")[0]


def test_a_browser_shows_every_operation_and_reports_nothing_refused(running: Running, chromium: Browser) -> None:
    page = chromium.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{running.url}/docs")
    page.wait_for_selector('[data-path="/readyz"]')
    assert page.locator('[data-path="/v1/customers/{customer_id}/score"]').count() >= 1
    assert said == []
    page.close()
