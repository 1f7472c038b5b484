"""The page in a real browser: light, dark, small, by keyboard and as a screen reader finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import browsing, installed
from night import Seen, sale

from voyado_async.outbox.records import Settlement
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State

BROWSER = installed()

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed: the page was not looked at")

CONTRAST = """
(() => {
  const luminance = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(part => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  const poor = [];
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const shape = element.tagName.toLowerCase() === 'rect';
    if (!own && !shape || element.closest('details:not([open])') || element.tagName === 'title') continue;
    const style = getComputedStyle(element);
    const ink = luminance(shape ? style.fill : style.color);
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < (shape ? 3 : 4.5)) poor.push(element.tagName + ' ' + ratio.toFixed(2));
  }
  return poor;
})()
"""
"""What cannot be read well: less than 4.5 to 1 for text, 3 to 1 for bars (WCAG 2.2, 1.4.3 and 1.4.11)."""


HIDDEN = """
[...document.querySelectorAll('.rows td, .rows tbody th, .verdict li, dd')]
  .filter(cell => cell.getBoundingClientRect().right > innerWidth || cell.scrollWidth > cell.clientWidth + 1)
  .map(cell => cell.textContent)
"""
"""What one would have to scroll sideways for."""

ELSEWHERE = "[...document.querySelectorAll('script, link, img, iframe, [src], [onclick]')].map(one => one.outerHTML)"
"""What is run, or comes from elsewhere."""

LONG = "ValidationError.ContactDoesNotFulfilTheRequirementsOfItsType: 6f1a2b3c-0000-4000-8000-000000000018 and others"

REACHED = "document.activeElement.getAttribute('aria-labelledby') || document.activeElement.textContent.trim()"


async def test_the_page_in_a_browser(night: SqliteOutbox, seen: Seen, tmp_path: Path) -> None:
    """One test, because a browser takes seconds to start."""
    assert BROWSER is not None
    (entry,) = await night.enqueue(sale(9_999)[:1])
    assert await night.settle(Settlement(entry.id, State.PENDING, State.REJECTED, reason=LONG))
    async with browsing(BROWSER, tmp_path / "browser") as tab:
        papers = []
        for name, dark, width in (("light", False, 1100), ("dark", True, 1100), ("small", False, 360)):
            await tab.look_at(f"{seen.url}/", dark=dark, width=width)
            assert await tab.evaluate(CONTRAST) == [], name
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width, name
            assert await tab.evaluate(HIDDEN) == [], name
            found = await tab.accessible()
            assert {text for role, text in found if role == "columnheader"} >= {"Why", "Next", "What to type"}, name
            assert {text for role, text in found if role == "rowheader"} >= {"pending", "rejected"}, name
            papers.append(await tab.evaluate("getComputedStyle(document.body).backgroundColor"))
            await tab.screenshot(tmp_path / f"page-{name}.png")
            assert (tmp_path / f"page-{name}.png").stat().st_size > 20_000
        assert papers[0] == papers[2] != papers[1]

        assert ("RootWebArea", "Look (3): Outbox for Voyado Engage") in found
        assert [name for role, name in found if role == "heading"] == [
            "Outbox for Voyado Engage", "Now", "What waits", "The last 6 hours", "Files", "Rejected",
            "Somebody has to look",
        ]  # fmt: skip
        assert {"main", "banner"} <= {role for role, _ in found}
        assert [name for role, name in found if role in ("link", "image", "region", "table") and not name] == []
        assert len([name for role, name in found if role == "image"]) == 3
        assert len([name for role, name in found if role == "table"]) == 3
        assert await tab.evaluate(ELSEWHERE) == []

        reached = []
        for _ in range(3):
            await tab.press("Tab")
            assert await tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            reached.append(await tab.evaluate(REACHED))
        assert reached == ["look again", "metrics", "The numbers of the chart"]
        await tab.evaluate("document.querySelector('summary').click()")
        assert await tab.evaluate("document.querySelector('details table').rows.length") >= 25
