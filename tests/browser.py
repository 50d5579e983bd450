"""A page opened in headless Chromium, with a script of the test inside it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

needs_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium on this machine")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
           --disable-component-update --disable-sync --hide-scrollbars --enable-logging=stderr --v=0"""
ADDRESSES = {"src", "srcset", "href", "action", "poster", "data", "background", "formaction", "ping"}

# A window of Chromium is never as narrow as a phone, but a frame is; its load comes before that of the document around.
FRAME = """<!doctype html><body style="margin:0"><iframe style="border:0;width:%dpx;height:900px" srcdoc="%s"></iframe>
<script>addEventListener("load", () => {
  document.body.append(document.querySelector("iframe").contentDocument.getElementById("outcome"));
});</script></body>"""

# What every test asks for: the width, what does not fit into it, and what has been loaded beside the page.
AROUND = """<script>addEventListener("load", () => {
  const outcome = (() => { %s })() ?? {};
  outcome.width = innerWidth;
  outcome.wide = document.documentElement.scrollWidth;
  outcome.loaded = performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:"));
  const made = document.createElement("pre");
  made.id = "outcome";
  made.textContent = JSON.stringify(outcome);
  document.body.append(made);
});</script></body>"""


class _Addresses(HTMLParser):
    """What the attributes of a page, and its style sheet, lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, value) for name, value in attrs if name in ADDRESSES and value is not None]

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style":
            self.found += [("style", value) for value in re.findall(r"(?:url\(|@import)\s*(\S+)", data)]


def outside(page: str) -> list[tuple[str, str]]:
    """(element, address) of whatever in a page is not inside it."""
    parser = _Addresses()
    parser.feed(page)
    return [(tag, value) for tag, value in parser.found if not value.startswith("data:")]


def opened(page: str, folder: Path, script: str = "", width: int = 360) -> tuple[dict[str, Any], list[str]]:
    """What the script returns, when the page has loaded in a frame so wide, and the lines of the console."""
    file = folder / "opened.html"
    inside = page.replace("</body>", AROUND % script)
    file.write_text(FRAME % (width, escape(inside)), encoding="utf-8")
    flags = [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]
    command = ["chromium", *flags, "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shutil.rmtree(folder / "profile", ignore_errors=True)
    found = re.search(r'<pre id="outcome">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:]
    return json.loads(unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]
