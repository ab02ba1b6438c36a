"""A version trained on the sample, and settings whose log and labels belong to one test."""

from pathlib import Path

import pytest
from markupsafe import Markup

from lifecycle import reports
from lifecycle.settings import Settings
from support.gate import own
from support.monitored import Sample, deploy, train_sample


@pytest.fixture(scope="package")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return train_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def drawn_charts() -> None:
    """Draw the charts of reports in this test."""


@pytest.fixture(autouse=True)
def charts_as_text(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write only the text of a chart, because drawing takes most of a run of `monitor`; see `drawn_charts`."""
    if "drawn_charts" not in request.fixturenames:
        chart = '<svg role="img" aria-label="{}"></svg>'
        monkeypatch.setattr(reports, "_svg", lambda title, labels, draw, text: Markup(chart).format(text))


@pytest.fixture
def settings(sample: Sample, tmp_path: Path) -> Settings:
    """Return settings with the same bundles and data, and with an empty log and no labels."""
    settings = own(sample.settings, tmp_path)
    deploy(settings.store, sample.bundle)
    return settings
