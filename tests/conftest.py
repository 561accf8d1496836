"""What every test is subject to."""

import sys

import pytest

import statusd.web.app
from tests import openapi

# Before anybody takes it from there: whatever an in-process daemon answers is held against its /openapi.json.
assert "statusd.app" not in sys.modules
statusd.web.app.create_app = openapi.witnessed(statusd.web.app.create_app)


@pytest.fixture(autouse=True)
def answers_are_as_documented():
    """Fail a test whose daemon answered anything else than it documents."""
    openapi.VIOLATIONS.clear()
    yield
    violations = list(dict.fromkeys(openapi.VIOLATIONS))
    openapi.VIOLATIONS.clear()
    assert not violations, "\n".join(violations[:20])
