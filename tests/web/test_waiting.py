"""Waiting for branches to change: who is woken, when, and what is left behind."""

import itertools

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from statusd.web.waiting import Waiting

paths = st.lists(st.sampled_from("ab"), max_size=3).map("/".join)


async def wait(waiting, path, found, scope=None):
    with scope or trio.CancelScope():
        found.append((path, await waiting.change(path)))


@given(st.lists(paths, max_size=6), st.lists(paths, min_size=1, max_size=4))
def test_exactly_those_are_woken_in_whose_branch_something_changed(waited, changed):
    async def play():
        waiting, found = Waiting(), []
        async with trio.open_nursery() as nursery:
            for path in waited:
                nursery.start_soon(wait, waiting, path, found)
            await wait_all_tasks_blocked()
            waiting.changed(changed, 8)
            await wait_all_tasks_blocked()
            inside = [
                path
                for path in waited
                if any(f"{one}/".startswith(f"{path}/") for one in changed) or not path
            ]
            assert sorted(found) == sorted((path, 7) for path in inside)
            waiting.end(9)
            await wait_all_tasks_blocked()
            assert sorted(path for path, _ in found) == sorted(waited)

    trio.run(play)


async def test_readers_go_on_one_by_one(nursery):
    waiting, found, seen = Waiting(), [], []
    for _ in range(50):
        nursery.start_soon(wait, waiting, "a", found)
        nursery.start_soon(wait, waiting, "a/b", found)
    await wait_all_tasks_blocked()
    waiting.changed(["a/b"], 8)
    while len(found) < 100:
        seen.append(len(found))
        await trio.lowlevel.checkpoint()
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 2


@pytest.mark.parametrize("leaving", [range(1), range(5), range(0, 10, 2), range(5, 10), range(10)])
@pytest.mark.parametrize("passes", range(6))
async def test_those_who_leave_hold_up_nobody_and_leave_nothing(nursery, leaving, passes):
    waiting, found = Waiting(), []
    scopes = [trio.CancelScope() for _ in range(10)]
    for number, scope in enumerate(scopes):
        nursery.start_soon(wait, waiting, "ab"[number % 2], found, scope)
    await wait_all_tasks_blocked()
    waiting.changed(["a"], 8)
    for _ in range(passes):
        await trio.lowlevel.checkpoint()
    for number in leaving:
        scopes[number].cancel()
    waiting.changed(["b"], 9)
    await wait_all_tasks_blocked()
    stayed = [number for number in range(10) if number not in leaving]
    assert len(found) >= len(stayed)
    assert not waiting._branches
    assert not waiting._woken


async def test_a_change_while_nobody_waits_wakes_nobody_later(nursery):
    waiting, found = Waiting(), []
    waiting.changed(["a"], 8)
    nursery.start_soon(wait, waiting, "a", found)
    await wait_all_tasks_blocked()
    assert not found
    nursery.cancel_scope.cancel()


async def test_who_leaves_a_branch_that_never_changes_leaves_nothing(nursery):
    waiting, scopes = Waiting(), [trio.CancelScope() for _ in range(2)]
    for scope in scopes:
        nursery.start_soon(wait, waiting, "quiet", [], scope)
    await wait_all_tasks_blocked()
    for scope, left in zip(scopes, (1, 0), strict=True):
        scope.cancel()
        await wait_all_tasks_blocked()
        assert len(waiting._branches) == left
