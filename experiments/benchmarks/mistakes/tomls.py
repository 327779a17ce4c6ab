"""TOMLs that say something else than was meant: keys with other values, lines lost, doubled and from elsewhere, signs struck."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

from experiments.benchmarks.mistakes import business, junk
from experiments.benchmarks.mistakes.case import READ, Line, Typed

_ROOT = Path(__file__).parents[3]
_BLOCK = re.compile(r"```toml\n(.*?)```", re.DOTALL)
_SIGNS = ('"', "'", "=", "[", "]", "{", "}", "#", "\\", "\x00", "é", "-", ".", ",", " ", "9", "\ufeff", "\r")


@cache
def _others() -> tuple[str, ...]:
    """TOMLs of public data and, in a checkout, of the documentation: their files are not there."""
    public = [path.read_text() for path in sorted((_ROOT / "experiments").glob("*.toml"))]
    pages = [path.read_text() for path in sorted((_ROOT / "docs").glob("*.md"))]
    return (*public, *(block for page in pages for block in _BLOCK.findall(page)))


def lay(folder: Path, draws: random.Random) -> Typed:
    """Write a business with a TOML that was changed, and say what is typed about it."""
    business.write(folder, draws, 80)
    name = draws.choice(list(business.CONFIGS))
    own = draws.random() < 0.6
    text = business.CONFIGS[name] if own else draws.choice(_others() or (business.EVENTS,))
    (folder / name).write_bytes(changed(text, draws))
    if name == "trial.toml" and draws.random() < 0.5:
        return Typed((("training", "policy", name),))
    further = draws.random()
    if further > 0.15:
        return Typed(((READ, name),))
    lines: list[Line] = [("features", "build", name)]
    if own and further < 0.015:
        lines.append(("training", "run", name))
    elif own and further < 0.03:
        lines += [("serving", "plan", "--output", "plan.csv"), ("training", "watch", name)]
    return Typed(tuple(lines))


def changed(text: str, draws: random.Random) -> bytes:
    """A TOML with one to six changes, as bytes: not all of them are UTF-8."""
    lines = text.split("\n")
    for _ in range(draws.choice([1, 1, 1, 1, 2, 3, 6])):
        lines = _changed_once(lines, draws) or [""]
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    if draws.random() < 0.03:
        return data.decode("utf-8", "replace").encode(draws.choice(["utf-16", "latin-1", "utf-8-sig"]), "replace")
    return data


def _changed_once(lines: list[str], draws: random.Random) -> list[str]:
    chance, place = draws.random(), draws.randrange(len(lines))
    keys = [at for at, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    heads = [at for at, line in enumerate(lines) if line.startswith("[")]
    lines = list(lines)
    if chance < 0.6 and keys:
        at = draws.choice(keys)
        lines[at] = f"{lines[at].split('=', 1)[0]}= {draws.choice(junk.TOML)}"
    elif chance < 0.68:
        del lines[place]
    elif chance < 0.74:
        lines.insert(place, lines[place])
    elif chance < 0.82 and heads:
        at = draws.choice(heads)
        single = lines[at].replace("[[", "[").replace("]]", "]")
        lines[at] = draws.choice([single, f"[{lines[at]}]", lines[draws.choice(heads)], "[nothing]"])
    elif chance < 0.9 and lines[place]:
        line, at = lines[place], draws.randrange(len(lines[place]))
        lines[place] = line[:at] + draws.choice(_SIGNS) + line[at + draws.choice([0, 1]) :]
    else:
        other = draws.choice((*business.CONFIGS.values(), *_others())).split("\n")
        lines.insert(place, draws.choice(other))
    return lines
