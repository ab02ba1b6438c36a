"""Pages need nothing from another host, run nothing, escape what they are given and describe every chart in text."""

from html.parser import HTMLParser
from typing import Any

import jinja2
import pytest

from lifecycle import reports
from support.reports import decision_page, monitoring_page


class Elements(HTMLParser):
    """The elements and attribute values of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.values: list[str] = []
        self.labels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.values += [value or "" for _, value in attrs]
        if tag == "svg":
            self.labels.append(dict(attrs)["aria-label"] or "")


@pytest.fixture(scope="module", params=[monitoring_page, decision_page], ids=["monitoring", "decision"])
def page(request: pytest.FixtureRequest) -> str:
    return str(request.param())


def test_text_is_escaped(page: str) -> None:
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


def test_a_page_needs_no_other_host_and_no_script(page: str) -> None:
    elements = Elements(page)
    assert "script" not in elements.names
    assert not [value for value in elements.values if "//" in value]
    assert "http" not in page
    # A reference within the page, such as a clip path, is the only kind of url().
    assert page.count("url(") == page.count("url(#")


def test_a_page_has_both_themes_and_its_charts_follow_them(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    for placeholder in reports.VARIABLES:
        assert placeholder not in page
    drawn = page[page.index("<svg") :]
    assert "var(--text)" in drawn
    assert "#000000" not in drawn


def test_the_label_of_a_chart_gives_its_numbers() -> None:
    labels = Elements(monitoring_page()).labels
    assert (
        "plan <b>. training rows and last window: basic 40.0% and 50.0%; plus 35.0% and 25.0%; null 25.0% and 25.0%"
        in labels
    )
    assert any("all rows 0.71 (0.69 to 0.735); plan=basic 0.6 (0.55 to 0.65); bound 0.75" in each for each in labels)
    intervals, calibration, value = Elements(decision_page()).labels
    assert intervals.endswith("linear baseline 0.02 (0.01 to 0.03); no difference 0")
    assert calibration.endswith("observed share: 0.1 and 0.08 (500 rows); 0.6 and 0.7 (500 rows)")
    assert value.endswith("value of a row: highest -0.25 at the threshold 0.5; requested (0.5) 0.5")


def test_the_decision_page_states_outcomes_and_calibration() -> None:
    text = decision_page()
    for cell in ("passed", "not compared", "failed", "Use a smaller estimator.", "not defined", "0.000", "0.0800"):
        assert cell in text
    assert "The\nexpected calibration error is 0.0600; calibrated probabilities have about 0.0130 by chance" in text
    assert "Compare &lt;i&gt;both&lt;/i&gt;." in text
    assert "plan &lt;b&gt;=basic" in text


def test_equal_input_gives_equal_bytes() -> None:
    assert monitoring_page() == monitoring_page()
    assert decision_page() == decision_page()


@pytest.mark.parametrize("bins", [["$5", "$5 to $10"], ["日本", "x" * 80], ["tab\there", "null\x00byte"], ["<i>", "&"]])
def test_any_text_can_label_a_bin(bins: list[str], recwarn: pytest.WarningsRecorder) -> None:
    chart = reports.shares("a $title$", "", bins, {"before": [0.5, 0.5], "after": [0.25, 0.75]})
    assert not recwarn
    assert "\x00" not in chart[chart.index(">") :]
    assert "<i>" not in chart


def test_of_many_bins_the_largest_are_drawn() -> None:
    bins, shares = [f"level {place}" for place in range(30)], [place / 435 for place in range(30)]
    [label] = Elements(reports.shares("city", "", bins, {"before": shares, "after": shares})).labels
    assert "level 29 6.7% and 6.7%" in label
    assert label.count("%") == 2 * reports.MAX_BINS
    assert "level 2 " not in label


def test_a_template_does_not_accept_a_missing_value() -> None:
    values: dict[str, Any] = {"record": None}
    with pytest.raises(jinja2.UndefinedError):
        reports.render("decision.html.j2", **values)
