"""Pages of figures: the lines of a cell break around an interval, never within, and Markdown says the same."""

from __future__ import annotations

from training.reporting.document import Document, Section, Table


def test_an_interval_stays_on_one_line() -> None:
    table = Table(("policy", "reward"), (("a call to them", "0.30 (0.28 to 0.32)"),))
    page = Document("Policies", (Section("Earned", tables=(table,)),))
    assert '<td>0.30 <span class="interval">(0.28 to 0.32)</span></td>' in page.html()
    assert "| a call to them | 0.30 (0.28 to 0.32) |" in page.markdown()
