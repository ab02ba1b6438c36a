"""A real browser accepts our pages in both themes and at 400 pixels, and the check reports each planted defect."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.browsing import MARKS, examine
from support.reports import decision_page, monitoring_page

pytestmark = MARKS

DEFECTS = {
    "an error of a script": ("</main>", "<script>nothing.there()</script></main>", "nothing is not defined"),
    "a console error": ("</main>", "<script>console.error('lost')</script></main>", "lost"),
    "a request to another host": (
        "</main>",
        '<img alt="x" src="http://127.0.0.1:9/x.png"></main>',
        "request to http://",
    ),
    "content too wide for a narrow screen": ("</main>", '<div style="width: 600px">x</div></main>', "at 400 pixels"),
    "a picture without text": ("</main>", '<img src="data:,"></main>', "image-alt"),
    "a chart without text": ('role="img" aria-label="plan', 'role="img" data-label="plan', "svg-img-alt"),
    "text with low contrast": (
        "</main>",
        '<p style="color: #888; background: #999">hard to read</p></main>',
        "color-contrast",
    ),
    "one colour scheme": ("@media (prefers-color-scheme: dark)", "@media print", "both colour schemes"),
}


@pytest.mark.parametrize("page", [monitoring_page, decision_page])
def test_a_page_passes_the_browser_check(tmp_path: Path, page: Callable[[], str]) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(), encoding="utf-8")
    examine(path)


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_browser_check_reports_a_defect(tmp_path: Path, defect: str) -> None:
    old, new, message = DEFECTS[defect]
    clean = monitoring_page()
    assert old in clean
    path = tmp_path / "page.html"
    path.write_text(clean.replace(old, new), encoding="utf-8")
    with pytest.raises(AssertionError) as caught:
        examine(path)
    assert message in str(caught.value)
