#!/usr/bin/env python3
"""Measures after how long something of the settings page is there, opened by both ways; as root.

`.venv/bin/python bench/first_paint.py [--count 10]`; byway and Cockpit in a container of their own,
Debian's Chromium. What is compared runs in turns, beside a page that has nothing but a word.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser.container import Container
from browser.controls import open_tab
from browser.ways import ARGUMENTS, Cockpit, Loopback, View, write_launcher

WORD = "data:text/html,<p>word"
# Of the frame itself, since it began to load: Cockpit's own shell is there before.
PAINTED = 'performance.getEntriesByName("first-contentful-paint")[0].startTime'


def paint_word(page: Page) -> float:
    page.goto(WORD)
    page.wait_for_function('performance.getEntriesByName("first-contentful-paint").length')
    return float(page.evaluate(PAINTED))


def paint_settings(view: View) -> float:
    view.page.reload()
    open_tab(view, "Overview")
    return float(view.frame.evaluate(PAINTED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder, Container() as container:
        container.start_over()
        launcher = write_launcher(container, Path(folder))
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=launcher, args=list(ARGUMENTS))
            words = chromium.new_context().new_page()
            views = [
                way(container).open(chromium.new_context(), "alice", may_change=True)
                for way in (Loopback, Cockpit)
            ]
            figures: dict[str, list[float]] = {"a word": [], "byway ui": [], "in Cockpit": []}
            for _ in range(count):
                taken = [paint_word(words), *map(paint_settings, views)]
                for of_one, milliseconds in zip(figures.values(), taken, strict=True):
                    of_one.append(milliseconds)
            chromium.close()
    of_word = statistics.median(figures["a word"])
    for name, of_one in figures.items():
        middle = statistics.median(of_one)
        print(
            f"{name}: median {middle:.0f} ms, most {max(of_one):.0f} ms, {middle / of_word:.1f} x"
        )


if __name__ == "__main__":
    main()
