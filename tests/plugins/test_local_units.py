"""systemd units, by what systemctl prints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import ProbeError, Status
from statusd.testing.fakes import FakeCompleted, FakeContext
from statusd_plugins.local_units import ask_systemd, judge


def printed(load: str, active: str, sub: str) -> FakeCompleted:
    return FakeCompleted(0, f"LoadState={load}\nActiveState={active}\nSubState={sub}\n".encode())


@pytest.mark.parametrize(
    ("states", "status", "reason"),
    [
        (("loaded", "active", "running"), Status.OK, "ok"),
        (("loaded", "active", "exited"), Status.OK, "ok"),
        (("masked", "active", "running"), Status.OK, "ok"),
        (("loaded", "reloading", "reload"), Status.OK, "ok"),
        (("loaded", "activating", "start"), Status.DEGRADED, "loading"),
        (("loaded", "activating", "start-pre"), Status.DEGRADED, "loading"),
        (("loaded", "activating", "auto-restart"), Status.DOWN, "failed"),
        (("loaded", "activating", "auto-restart-queued"), Status.DOWN, "failed"),
        (("loaded", "failed", "failed"), Status.DOWN, "failed"),
        (("loaded", "inactive", "dead"), Status.DOWN, "unavailable"),
        (("masked", "inactive", "dead"), Status.DOWN, "unavailable"),
        (("loaded", "deactivating", "stop-sigterm"), Status.DOWN, "unavailable"),
        (("loaded", "maintenance", "x"), Status.DOWN, "unavailable"),
        (("not-found", "inactive", "dead"), Status.DOWN, "missing"),
        (("loaded", "invented", "x"), Status.UNKNOWN, "unexpected_answer"),
        (("", "", ""), Status.UNKNOWN, "unexpected_answer"),
    ],
)
async def test_a_units_state_becomes_a_status(states, status, reason):
    context = FakeContext(commands={"systemctl": printed(*states)})
    (report,) = await ask_systemd(context, ["quicktalk@1.service"])
    assert (report.path, report.status, report.reason) == ("unit/quicktalk%401.service", status, reason)
    assert (report.status is Status.OK) is not bool(report.message)


async def test_each_unit_is_asked_for_by_itself_and_never_as_an_option():
    context = FakeContext(commands={"systemctl": printed("loaded", "active", "running")})
    await ask_systemd(context, ["a.service", "b.service"])
    assert [command[-2:] for command in context.ran] == [("--", "a.service"), ("--", "b.service")]


@pytest.mark.parametrize(
    ("result", "reason", "text"),
    [
        (ProbeError("not_found", "x"), "not_found", "is systemd installed"),
        (FakeCompleted(1, b"", b"Failed to connect to bus: Host is down"), "unreachable", "no system bus"),
        (
            FakeCompleted(1, b"", b"System has not been booted with systemd as init system (PID 1)."),
            "unreachable",
            "no system bus",
        ),
        (FakeCompleted(1, b"", b"Unit name a@ is not valid."), "unreachable", "exit code 1"),
        (
            FakeCompleted(0, b"Running in chroot, ignoring command 'show'\n"),
            "unexpected_answer",
            "said nothing",
        ),
    ],
)
async def test_without_systemd_a_unit_is_unknown_and_says_why(result, reason, text):
    (report,) = await ask_systemd(FakeContext(commands={"systemctl": result}), ["a.service"])
    assert (report.status, report.reason) == (Status.UNKNOWN, reason)
    assert text in report.message


@given(st.dictionaries(st.sampled_from(["LoadState", "ActiveState", "SubState"]), st.text(max_size=50)))
def test_no_state_but_the_documented_ones_is_connected(properties):
    report = judge("a.service", properties, "unit/a.service")
    if report.status.is_connected:
        assert properties["ActiveState"] in {"active", "reloading", "refreshing", "activating"}
