import contextlib
import logging
import random
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.events import REQUEST
from statusd.web.edge.access_log import LATER, LONG, MOST, SampledLog, line
from statusd.web.edge.traffic import APP, FRONT, Exchange

EXCHANGE = Exchange(
    client="192.0.2.7",
    method="GET",
    target="/state?since=4",
    version="1.1",
    status=200,
    size=1234,
    seconds=0.25,
    stage=APP,
)


@attrs.define
class Time:
    at: float = 100.0

    def __call__(self):
        return self.at


@contextlib.contextmanager
def written():
    """The lines that are written meanwhile, and to nobody else."""
    handler, logger, found = logging.Handler(), logging.getLogger("statusd.access"), []
    handler.emit = lambda record: found.append(record.getMessage())
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@pytest.fixture
def lines():
    with written() as found:
        yield found


def asked(number):
    return attrs.evolve(EXCHANGE, target=f"/{number}")


def chosen(share, number, seed=1):
    """Return which of so many requests a log writes that has always room."""
    time = Time()
    log = SampledLog(share, clock=time, chance=random.Random(seed))
    with written() as lines:
        for one in range(number):
            time.at += 1
            log.take(asked(one))
    return [int(one.split()[2][1:]) for one in lines]


def test_a_request_is_one_line(lines):
    SampledLog(1.0).take(EXCHANGE)
    assert lines == ['192.0.2.7 "GET /state?since=4 HTTP/1.1" 200 1234 0.2500 app']


def test_the_line_is_info_of_a_logger_of_its_own(caplog):
    caplog.set_level(logging.INFO)
    SampledLog(1.0).take(EXCHANGE)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("statusd.access", logging.INFO)


def test_its_event_has_the_parts_and_nothing_that_ends_a_line(caplog):
    caplog.set_level(logging.INFO)
    SampledLog(1.0).take(attrs.evolve(EXCHANGE, target="/\n\x1b[2J", client=""))
    [record] = caplog.records
    assert record.event.kind is REQUEST
    assert record.event.fields == {
        "client": "-",
        "method": "GET",
        "target": r"/\n\x1b[2J",
        "status": "200",
        "size": "1234",
        "seconds": "0.2500",
        "stage": APP,
    }


def test_what_is_not_there_is_a_dash():
    unknown = attrs.evolve(EXCHANGE, client="", method="", target="", version="", status=0, stage=FRONT)
    assert line(unknown) == '- "-" - 1234 0.2500 front'


def test_a_percent_sign_formats_nothing(lines):
    SampledLog(1.0).take(attrs.evolve(EXCHANGE, target="/%s%d%(x)s"))
    assert lines == ['192.0.2.7 "GET /%s%d%(x)s HTTP/1.1" 200 1234 0.2500 app']


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ('/" 200 0 0.0 app', r"/\"\x20200\x200\x200.0\x20app"),
        ("/a\r\n192.0.2.1 GET", r"/a\r\n192.0.2.1\x20GET"),
        ("/\x1b[2J\x00\x7f", r"/\x1b[2J\x00\x7f"),
        ("/\\n", r"/\\n"),
        ("/\u2028\u202e\xe9", r"/\u2028\u202e\xe9"),
        ("/\udc80", r"/\udc80"),
        ("/" + "a" * 40_000, "/" + "a" * (LONG - 1) + "[cut]"),
    ],
)  # fmt: skip
def test_nothing_that_a_stranger_chose_forges_a_line_or_a_field(target, shown):
    assert (
        line(attrs.evolve(EXCHANGE, target=target)) == f'192.0.2.7 "GET {shown} HTTP/1.1" 200 1234 0.2500 app'
    )


@given(method=st.text(), target=st.text(), version=st.text(), client=st.text())
def test_every_line_can_be_read_back_and_is_bounded(method, target, version, client):
    written = line(attrs.evolve(EXCHANGE, method=method, target=target, version=version, client=client))
    assert written.isascii()
    assert written.isprintable()
    assert len(written) < 10 * (LONG + 200)
    shown, _, rest = written.partition(" ")
    assert shown
    assert rest.endswith('" 200 1234 0.2500 app')
    assert rest.count(" ") == (6 if method else 4)
    assert rest.replace("\\\\", "").replace('\\"', "").count('"') == 2


def test_the_longest_of_everything_stays_bounded():
    longest = dict.fromkeys(("client", "method", "target", "version"), "\U0001f600" * 100_000)
    assert len(line(attrs.evolve(EXCHANGE, **longest))) < 10 * (LONG + 200)


def test_share_1_is_every_request():
    assert chosen(1.0, 1000) == list(range(1000))


@given(share=st.floats(0, 1, exclude_min=True), number=st.integers(0, 300), seed=st.integers(0, 9))
def test_so_many_of_any_requests_are_written_as_the_share_says(share, number, seed):
    found = chosen(share, number, seed)
    assert abs(len(found) - number * share) <= 2
    assert found == sorted(set(found))


def test_the_share_holds_in_every_stretch_and_not_only_in_all():
    found = chosen(0.1, 10_000)
    gaps = [later - earlier for earlier, later in pairwise(found)]
    assert len(found) == pytest.approx(1000, abs=2)
    assert max(gaps) <= 20


def test_requests_that_take_turns_are_all_met():
    found = chosen(0.5, 1000)
    assert 150 < sum(number % 2 for number in found) < 350


def test_of_a_flood_a_hundred_lines_a_second_are_written_and_the_rest_is_counted(lines):
    time = Time()
    log = SampledLog(1.0, clock=time)
    for _ in range(5):
        for _ in range(1000):
            log.take(EXCHANGE)
        time.at += 0.2
    assert len(lines) == MOST
    time.at += LATER
    log.take(EXCHANGE)
    assert lines[MOST:] == [
        f"4900 more requests were not written: over {MOST} lines a second.",
        line(EXCHANGE),
    ]
    log.take(EXCHANGE)
    log.close()
    assert len(lines) == MOST + 3


def test_no_second_has_more_than_a_hundred_lines_wherever_it_begins(lines):
    time, times = Time(), []
    log = SampledLog(1.0, clock=time)
    for _ in range(4000):
        time.at += 1 / 256
        before = len(lines)
        log.take(EXCHANGE)
        times += [time.at] * (len(lines) - before)
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[MOST:], strict=False))
    log.close()
    sums = [int(one.split()[0]) for one in lines if "more requests" in one]
    assert len(sums) == 2
    assert len(lines) - len(sums) + sum(sums) == 4000


def test_what_was_left_out_is_said_at_the_end(lines):
    log = SampledLog(1.0, clock=Time())
    for _ in range(MOST + 7):
        log.take(EXCHANGE)
    log.close()
    log.close()
    assert lines[MOST:] == [f"7 more requests were not written: over {MOST} lines a second."]


def test_a_slow_day_has_nothing_to_sum_up(lines):
    time = Time()
    log = SampledLog(1.0, clock=time)
    for _ in range(300):
        time.at += 0.1
        log.take(EXCHANGE)
    log.close()
    assert lines == [line(EXCHANGE)] * 300
