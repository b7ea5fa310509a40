"""Whether a page can be read and used by everybody (WCAG 2.2, level AA).

1.4.3 contrast, 1.4.10 reflow, 2.1.1 keyboard, 2.4.7 visible focus, 2.5.3 and 4.1.2 names.
"""

import re
from typing import Literal

from playwright.sync_api import Page

# Each text and what is behind it, as Chromium has worked them out, and their contrast as WCAG
# defines it; in SVG, too.
CONTRASTS = """() => {
  const parsed = (text) => {
    if (!/^rgba?\\(/.test(text)) throw new Error(`unknown colour ${text}`);
    const [red, green, blue, alpha = 1] = text.match(/[\\d.]+/g).map(Number);
    return [red, green, blue, alpha];
  };
  const over = (top, below) => {
    const alpha = top[3] + below[3] * (1 - top[3]);
    if (!alpha) return [0, 0, 0, 0];
    const mixed = [0, 1, 2].map(
      (i) => (top[i] * top[3] + below[i] * below[3] * (1 - top[3])) / alpha);
    return [...mixed, alpha];
  };
  const luminance = (colour) => {
    const [red, green, blue] = colour.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (node) => {
    const element = node.parentElement;
    const style = getComputedStyle(element);
    let text = parsed(element instanceof SVGElement ? style.fill : style.color);
    let back = [0, 0, 0, 0];
    for (let each = element; each; each = each.parentElement) {
      const { backgroundColor, opacity } = getComputedStyle(each);
      text = over(text, parsed(backgroundColor));
      back = over(back, parsed(backgroundColor));
      text[3] *= Number(opacity);
      back[3] *= Number(opacity);
    }
    if (back[3] < 1) throw new Error("nothing opaque is behind it");
    const [dark, light] = [luminance(text), luminance(back)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("title, script, noscript")) continue;
    if (element.checkVisibility()) found.push([node.data.trim(), contrast(node)]);
  }
  return found;
}"""
# What the keyboard must reach, in this order; and where it is, and how that is seen.
CONTROLS = """() => {
  const all = [...(document.querySelector("dialog[open]") ?? document).querySelectorAll(
    "a[href], button, input:not([type=hidden]), [tabindex='0']")];
  return all.filter((each) => each.checkVisibility());
}"""
FOCUSED = f"""() => {{
  const {{ outlineStyle, outlineWidth }} = getComputedStyle(document.activeElement);
  const seen = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
  return [({CONTROLS})().indexOf(document.activeElement), seen];
}}"""
MISNAMED = f"""() => ({CONTROLS})().filter((each) => each.ariaLabel &&
  !each.ariaLabel.startsWith(each.innerText?.trim() ?? "")).map((each) => each.ariaLabel)"""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def can_be_read(page: Page) -> None:
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        texts = page.evaluate(CONTRASTS)
        assert texts
        assert [each for each in texts if each[1] < 4.5] == [], scheme


def fits(page: Page) -> None:
    """320 pixels are 1,280 at four times the size."""
    for width in (320, 360, 640, 800, 940, 1100):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def can_be_used_by_keyboard(page: Page) -> None:
    """From the first control to the last, and the focus is seen at each."""
    count = page.evaluate(f"({CONTROLS})().length")
    assert count
    page.evaluate(f"({CONTROLS})()[1].focus()")
    page.keyboard.press("Shift+Tab")
    for number in range(count):
        assert page.evaluate(FOCUSED) == [number, True]
        page.keyboard.press("Tab")


def has_names(page: Page) -> None:
    """Each thing has one for a screen reader, and one that is spoken begins as it is shown."""
    tree = page.locator("body").aria_snapshot()
    assert re.search('(?m)^ *- (?:heading|button|textbox) "', tree)
    kinds = "button|link|textbox|spinbutton|img|table|region|heading|dialog"
    assert re.findall(rf'(?m)^ *- (?:{kinds})(?! ").*$', tree) == []
    assert page.evaluate(MISNAMED) == []


def for_everybody(page: Page) -> None:
    can_be_read(page)
    fits(page)
    has_names(page)
