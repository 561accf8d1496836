"""The `mock` source."""

from __future__ import annotations

import pytest

from statusd import Status
from statusd.plugin.validation import checked_reports
from statusd.testing.fakes import FakeContext
from statusd_plugins import mock
from statusd_plugins.mock import MockSource


async def test_by_default_it_and_its_models_are_ok_with_the_label_of_the_seed():
    source = MockSource(context=FakeContext(models=("mock", "other")))
    whole, *models = checked_reports(await source.probe(), models=("mock", "other"))
    assert (whole.status, whole.reason, whole.model, whole.label) == (Status.OK, "ok", None, "")
    assert [(report.model, report.status, report.label) for report in models] == [
        ("mock", Status.OK, "local_self_test"),
        ("other", Status.OK, "local_self_test"),
    ]
    assert source.is_configured


@pytest.mark.parametrize("status", ["degraded", "unknown", "down", "off"])
async def test_it_says_what_it_is_told_to_say(status: str):
    source = MockSource(context=FakeContext(models=("mock",)), status=status, message="On purpose.")
    for report in checked_reports(await source.probe(), models=("mock",)):
        assert (report.status, report.reason, report.message) == (Status(status), "mocked", "On purpose.")
        assert report.label == ""


def test_registration():
    added: list[type] = []
    mock.statusd_register_sources(type("Registry", (), {"add": staticmethod(added.append)})())
    assert added == [MockSource]
