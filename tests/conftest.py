"""What every test is subject to."""

import sys

import pytest

import statusd.web.app
from statusd.web.answering import Answers
from statusd.web.edge.front import Front
from tests import openapi, stages

# Before anybody takes them from there: whatever an in-process daemon answers is held against its /openapi.json.
assert "statusd.serving" not in sys.modules
statusd.web.app.create_app = openapi.witnessed(statusd.web.app.create_app)
Front.reply = openapi.witnessed_reply(Front.reply)
Answers.at_once = openapi.witnessed_answer(Answers.at_once)


def pytest_addoption(parser):
    stages.add_option(parser)


def pytest_configure(config):
    stages.heed(config)


@pytest.fixture(autouse=True)
def has_its_front_stage(request, monkeypatch):
    """Give a test of the front stage what it tests."""
    if request.node.get_closest_marker(stages.MARK):
        monkeypatch.setattr(stages, "HAS_FRONT", True)


@pytest.fixture(autouse=True)
def answers_are_as_documented():
    """Fail a test whose daemon answered anything else than it documents."""
    openapi.VIOLATIONS.clear()
    yield
    violations = list(dict.fromkeys(openapi.VIOLATIONS))
    openapi.VIOLATIONS.clear()
    assert not violations, "\n".join(violations[:20])
