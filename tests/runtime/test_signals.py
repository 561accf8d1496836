import signal

import trio

from statusd.signals import stop_on_signal


async def test_the_first_signal_stops_in_order_and_the_second_at_once(nursery):
    stop = trio.Event()
    told = []
    with trio.CancelScope() as scope:
        await nursery.start(stop_on_signal, stop, scope, lambda: told.append(stop.is_set()))
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()
        assert told == [False]
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert told == [False]
