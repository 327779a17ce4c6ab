"""What somebody who misspelt a name probably meant."""

import difflib
from collections.abc import Sequence


def near_matches(name: str, known: Sequence[str]) -> str:
    """The end of a message about `name`: "; did you mean 'x'?", or what exists; a full stop where nothing does."""
    by_folded = {candidate.casefold(): candidate for candidate in reversed(known)}
    close = [by_folded[match] for match in difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.6)]
    if close:
        return "; did you mean " + " or ".join(repr(candidate) for candidate in close) + "?"
    if not known:
        return "."
    shown = ", ".join(repr(candidate) for candidate in known[:12])
    return f"; there are {shown}{f' and {len(known) - 12} more' if len(known) > 12 else ''}."
