"""What somebody who misspelt a name probably meant."""

import difflib
from collections.abc import Sequence

from features.words import shown

_CLOSE = 0.6
_NEARLY_AS_CLOSE = 0.1


def near_matches(name: str, known: Sequence[str]) -> str:
    """The end of a message about `name`: "; did you mean 'x'?", or what exists; a full stop where nothing does."""
    by_folded = {candidate.casefold(): candidate for candidate in reversed(known)}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=_CLOSE)
    ratios = [difflib.SequenceMatcher(None, match, name.casefold()).ratio() for match in close]
    best = [
        by_folded[match] for match, ratio in zip(close, ratios, strict=True) if ratio >= ratios[0] - _NEARLY_AS_CLOSE
    ]
    if best:
        return "; did you mean " + " or ".join(map(shown, best)) + "?"
    if not known:
        return "."
    listed = ", ".join(map(shown, known[:12]))
    return f"; there are {listed}{f' and {len(known) - 12} more' if len(known) > 12 else ''}."
