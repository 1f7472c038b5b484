"""The page in a real browser: light, dark, small, by keyboard and as a screen reader finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import browsing, installed
from night import Seen

from voyado_async.outbox.sqlite import SqliteOutbox

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


REACHED = "document.activeElement.getAttribute('aria-labelledby') || document.activeElement.textContent.trim()"


async def test_the_page_in_a_browser(night: SqliteOutbox, seen: Seen, tmp_path: Path) -> None:
    """One test, because a browser takes seconds to start."""
    assert BROWSER is not None
    async with browsing(BROWSER, tmp_path / "browser") as tab:
        papers = []
        for name, dark, width in (("light", False, 1100), ("dark", True, 1100), ("small", False, 390)):
            await tab.look_at(f"{seen.url}/", dark=dark, width=width)
            assert await tab.evaluate(CONTRAST) == [], name
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width, name
            papers.append(await tab.evaluate("getComputedStyle(document.body).backgroundColor"))
            await tab.screenshot(tmp_path / f"page-{name}.png")
            assert (tmp_path / f"page-{name}.png").stat().st_size > 20_000
        assert papers[0] == papers[2] != papers[1]

        found = await tab.accessible()
        assert ("RootWebArea", "Look (3): Outbox for Voyado Engage") in found
        assert [name for role, name in found if role == "heading"] == [
            "Outbox for Voyado Engage", "Now", "What waits", "The last 6 hours", "Files", "Rejected",
            "Somebody has to look",
        ]  # fmt: skip
        assert {"main", "banner"} <= {role for role, _ in found}
        assert [name for role, name in found if role in ("link", "image", "region", "table") and not name] == []
        assert len([name for role, name in found if role == "image"]) == 3
        assert {name for role, name in found if role == "columnheader"} >= {"Why", "Next", "What to type"}
        assert {name for role, name in found if role == "rowheader"} >= {"pending", "rejected"}

        reached = []
        for _ in range(6):
            await tab.press("Tab")
            assert await tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            reached.append(await tab.evaluate(REACHED))
        assert reached == ["look again", "metrics", "waits", "The numbers of the chart", "files", "rejected"]
        await tab.evaluate("document.querySelector('summary').click()")
        assert await tab.evaluate("document.querySelector('details table').rows.length") >= 25
