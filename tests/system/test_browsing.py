"""What the browser would find: a clean page passes, and each defect of a page is told."""

from pathlib import Path

import pytest

from lifecycle.reports import html_page
from support.browsing import MARKS, examine

pytestmark = MARKS

BODY = "\n".join(
    [
        html_page.verdict("watch", "discount has moved"),
        html_page.section(
            "Columns", html_page.figures([html_page.lines("psi", {"discount": [(0, 0.1), (1, 0.3)]}, ["may", "june"])])
        ),
        html_page.table(["column", *map(str, range(40))], [["discount", *range(40)]], "Every window"),
    ]
)
CLEAN = html_page.page("Monitoring", BODY, "What the last windows say.")
DEFECTS = {
    "an error of a script": ("</main>", "<script>nothing.there()</script></main>", "nothing is not defined"),
    "a message of an error": ("</main>", "<script>console.error('lost')</script></main>", "lost"),
    "a request to another host": ("</main>", '<img alt="x" src="http://127.0.0.1:9/x.png"></main>', "it asks http://"),
    "what is too wide for a narrow screen": ("</main>", '<div style="width: 600px">x</div></main>', "at 400 pixels"),
    "a picture without words": ("</main>", '<img src="data:,"></main>', "image-alt"),
    "text that is hard to read": (
        "</main>",
        '<p style="color: #888; background: #999">hard to read</p></main>',
        "color-contrast",
    ),
    "one colour scheme": ("@media (prefers-color-scheme: dark)", "@media print", "both colour schemes"),
}


def test_a_page_of_this_house_passes(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(CLEAN, encoding="utf-8")
    examine(path)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_of_a_page_is_told(tmp_path: Path, defect: str) -> None:
    old, new, told = DEFECTS[defect]
    assert old in CLEAN
    path = tmp_path / "page.html"
    path.write_text(CLEAN.replace(old, new), encoding="utf-8")
    with pytest.raises(AssertionError) as caught:
        examine(path)
    assert told in str(caught.value)
