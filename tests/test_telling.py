"""What systemd is told, and when."""

import trio

from statusd.telling import StatusTeller


class Manager:
    """Takes what a notifier would send."""

    def __init__(self):
        self.said = []

    def ready(self, text):
        self.said.append(("ready", text))
        return True

    def reloading(self):
        self.said.append(("reloading", ""))
        return True


async def test_a_reload_before_the_daemon_is_ready_is_part_of_its_start():
    manager, stop = Manager(), trio.Event()
    teller = StatusTeller(manager)
    teller.reloading()
    await teller.reloaded(stop, "the last reload failed: x")
    assert manager.said == []
    await teller.ready(stop)
    assert manager.said == [("ready", "starting; the last reload failed: x")]


async def test_a_reload_ends_with_ready_and_what_became_of_it():
    manager, stop = Manager(), trio.Event()
    teller = StatusTeller(manager)
    await teller.ready(stop)
    for remark in ("the last reload failed: x", ""):
        teller.reloading()
        await teller.reloaded(stop, remark)
    assert manager.said == [
        ("ready", "starting"),
        ("reloading", ""),
        ("ready", "starting; the last reload failed: x"),
        ("reloading", ""),
        ("ready", "starting"),
    ]
