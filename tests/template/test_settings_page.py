"""The page of all settings is the one that their definitions give."""

from lifecycle.settings import Settings, load
from support.settings_page import PAGE, page, rows


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run make manifest"


def test_each_setting_has_a_meaning_and_a_variable_that_sets_it() -> None:
    for name, field in rows(Settings):
        assert field.description, name
    known = dict(line.split(" = ")[:2] for line in load(PAGE.parent, environ={"LIFECYCLE_SERVE__PORT": "80"}).lines())
    assert known.keys() == {name for name, _ in rows(Settings)}
    assert known["serve.port"] == "80  (LIFECYCLE_SERVE__PORT)"
