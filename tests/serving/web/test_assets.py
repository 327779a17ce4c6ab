"""The libraries that pages load are those that their list says, to the byte, and each comes with its licence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import serving.web
from serving.web.assets import asset

VENDOR = Path(serving.web.__path__[0]) / "static" / "vendor"


def test_each_library_is_the_file_that_the_list_says() -> None:
    libraries = json.loads((VENDOR / "libraries.json").read_text())
    for library in libraries:
        content = (VENDOR / library["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == library["sha256"], library["file"]
        assert library["file"].endswith(".css") or library["version"].encode() in content
        assert (VENDOR / library["licence_file"]).read_text().strip()
        served = asset(library["file"])
        assert served is not None
        assert served.content == content
    listed = {library[key] for library in libraries for key in ("file", "licence_file")}
    assert {path.name for path in VENDOR.iterdir()} == {"libraries.json", *listed}


def test_only_what_pages_load_is_served() -> None:
    for name in ("libraries.json", "htmx.LICENSE", "vendor/htmx.js", "../assets.py", "nothing.js", "vendor"):
        assert asset(name) is None
