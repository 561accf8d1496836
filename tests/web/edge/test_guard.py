import logging

import pytest
import trio

from statusd.web.edge.guard import KINDS, QUIET, Guard, root_cause


def raiser(error):
    async def work():
        raise error

    return work


@pytest.fixture
def guard():
    clock = iter(range(0, 10_000, 1))
    return Guard(clock=lambda: float(next(clock)))


async def test_whatever_is_raised_stays_inside_is_counted_and_logged_with_its_cause(guard, caplog):
    await guard.run("connection", raiser(ExceptionGroup("both", [KeyError("stream"), OSError()])))
    assert guard.failures == {"connection": 1}
    assert [record.name for record in caplog.records] == ["statusd.web"]
    assert "A connection failed: KeyError" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("gone", [trio.BrokenResourceError, trio.ClosedResourceError])
async def test_a_client_that_left_is_no_failure(guard, caplog, gone):
    await guard.run("connection", raiser(gone()))
    await guard.run("connection", raiser(ExceptionGroup("", [gone(), gone()])))
    assert not guard.failures
    assert not caplog.records


async def test_the_same_failure_is_logged_once_a_minute_and_counted_each_time(guard, caplog):
    work = raiser(KeyError("stream"))
    for _ in range(int(QUIET) + 1):
        await guard.run("connection", work)
    assert guard.failures["connection"] == QUIET + 1
    assert len(caplog.records) == 2
    assert f"(and {QUIET - 1:g} like it before, not logged)" in caplog.records[1].getMessage()


async def test_another_failure_is_logged_at_once(guard, caplog):
    for error in (KeyError(), ValueError()):
        await guard.run("connection", raiser(error))
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


async def test_many_kinds_of_failures_do_not_pile_up(guard):
    for number in range(KINDS * 2):
        await guard.run("connection", raiser(type(f"Error{number}", (Exception,), {})()))
    assert len(guard._kinds) <= KINDS


async def test_cancellation_passes_and_what_came_with_it_stays(guard, autojump_clock):
    async def work():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sour, nursery)

    async def sour(nursery):
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError

    with trio.move_on_after(1) as scope:
        await guard.run("connection", work)
    assert guard.failures == {"connection": 1}
    assert scope.cancel_called


async def test_an_interrupt_is_not_swallowed(guard):
    with pytest.raises(BaseExceptionGroup) as caught:
        await guard.run("connection", raiser(BaseExceptionGroup("", [KeyboardInterrupt(), KeyError()])))
    assert isinstance(root_cause(caught.value), KeyboardInterrupt)
    assert guard.failures == {"connection": 1}
