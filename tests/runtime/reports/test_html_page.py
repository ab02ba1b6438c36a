"""Pages hold nothing of another host, run nothing, and show what they are given as text."""

from html.parser import HTMLParser

from lifecycle.reports import html_page

BODY = html_page.verdict("watch", "<script>alert(1)</script>") + html_page.figures(
    [
        html_page.bars("plan & <b>", ["basic", "plus"], [0.4, 0.6], [0.5, 0.5], "a note"),
        html_page.lines("quality", {"one": [(0, 1.0), (1, 2.0)], "two": []}, ["Jan", "Dec"]),
        html_page.lines("nothing", {}),
        html_page.table(["column", "PSI"], [["<i>", 0.25]], "columns"),
    ]
)


class Elements(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.values: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.values += [value or "" for _, value in attrs]


def test_what_is_given_is_shown_as_text() -> None:
    found = Elements(html_page.page("A & B", BODY, "lead <u>"))
    assert not {"script", "b", "i", "u"} & set(found.names)
    assert {"svg", "table", "figure", "h1"} <= set(found.names)


def test_a_page_asks_no_host_and_has_both_themes() -> None:
    page = html_page.page("A", BODY)
    assert not [value for value in Elements(page).values if "//" in value]
    assert "url(" not in page
    assert "prefers-color-scheme: dark" in page


def test_every_picture_says_in_words_what_it_shows() -> None:
    told = [value for value in Elements(BODY).values if value.startswith(("plan", "quality", "nothing"))]
    assert told == [
        "plan & <b>. basic: 40.0% to 50.0%; plus: 60.0% to 50.0%",
        "quality. one: 1 to 2 in 2 points",
        "nothing. no data",
    ]
