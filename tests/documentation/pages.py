"""The pages that document keepwell: their fenced blocks, the commands in them, and their links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("features", "training", "serving", "experiments")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", flags=re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name that the block's first line gives the file it is to be saved as: `# NAME.toml`."""
        named = re.match(r"# (\S+\.toml)\n", self.text)
        return named[1] if named else None


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text()

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Its fenced blocks, in order."""
        return tuple(Block(*found) for found in _FENCE.findall(self.text))

    @property
    def commands(self) -> list[str]:
        """What its `sh` blocks tell a reader to type, a command an element."""
        return [command for block in self.blocks if block.language == "sh" for command in commands(block.text)]

    @property
    def links(self) -> list[str]:
        """Where its links and pictures point."""
        return _LINK.findall(_FENCE.sub("", self.text))

    @property
    def anchors(self) -> set[str]:
        """Its headings, as GitHub makes anchors of them."""
        return {
            re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in _HEADING.findall(_FENCE.sub("", self.text))
        }


def commands(text: str) -> Iterator[str]:
    """The commands of a block: lines, joined where a backslash or an open quote says that one goes on."""
    begun = ""
    for line in text.splitlines():
        begun += line
        if begun.endswith("\\"):
            begun = begun[:-1]
            continue
        try:
            words = shlex.split(begun, comments=True)
        except ValueError:
            begun += "\n"
            continue
        if words:
            yield begun
        begun = ""
    assert not begun, f"the command never ends: {begun}"


PAGES = tuple(
    Page(path) for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
)
ALL = "\n".join(page.text for page in PAGES)
