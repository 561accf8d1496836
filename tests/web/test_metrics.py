import re
import tracemalloc
from pathlib import Path

import attrs
import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from statusd import Node, Payload, Report, Secret, SourceInfo, Status
from statusd.model.stats import BUCKETS, Stats
from statusd.model.tree import find
from statusd.runtime.hub import Hub, pending
from statusd.runtime.messages import Observation, Tracked
from statusd.web.edge.limits import Limits
from statusd.web.edge.traffic import FIXED
from statusd.web.exposition import CHEAP, SPARING, TEXT, Exposition, wants_openmetrics
from statusd.web.exposition import OPENMETRICS as OPENMETRICS_TYPE
from statusd.web.families import FAMILIES
from statusd.web.usage import usage
from tests.runtime.clocks import TrioClock
from tests.web.scraping import NOW, OPENMETRICS, SOURCES, Scraped, observed, populated, read, tree

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
FORMATS = pytest.mark.parametrize("accept", ["", OPENMETRICS])


def labels(**pairs):
    return tuple(sorted(pairs.items()))


def named(samples, name):
    """Return labels -> value of the samples with a name."""
    return {found: value for (sample, found), value in samples.items() if sample == name}


@FORMATS
def test_a_scrape_holds_every_family_in_its_own_format(accept):
    document = populated().metrics.render(accept)
    assert document.status == 200
    assert document.content_type == (OPENMETRICS_TYPE if accept else TEXT)
    samples = read(document.body.decode(), is_openmetrics=bool(accept))
    names = {name for name, _ in samples}
    for family in FAMILIES:
        wanted = f"{family.name}_bucket" if family.kind == "histogram" else family.name
        assert wanted in names, family.name


def test_openmetrics_tells_kinds_and_units():
    families = {
        family.name: family for family in text_string_to_metric_families(populated().text(OPENMETRICS))
    }
    kinds = {"state set": "stateset"}
    assert len(families) == len(FAMILIES)
    for family in FAMILIES:
        found = families[family.name.removesuffix("_total").removesuffix("_info")]
        assert found.type == kinds.get(family.kind, family.kind)
        assert found.unit == ("seconds" if "seconds" in family.name else "")
        assert found.documentation == family.meaning


@FORMATS
def test_of_every_node_exactly_one_status_is_1(accept):
    scraped = populated()
    found = named(scraped.samples(accept), "statusd_node_status")
    paths = {dict(pairs)["path"] for pairs in found}
    assert paths == {
        "", "sources", "models", "plugins", "daemon", "plugins/takeoff", "daemon/loop", "models/flashtalk",
        *(f"sources/{name}" for name in SOURCES),
    }  # fmt: skip
    for path in paths:
        states = {status: found[labels(path=path, statusd_node_status=status)] for status in Status}
        assert [status for status, value in states.items() if value] == [find(scraped.root, path).status]
        assert sum(states.values()) == 1


def test_ages_are_those_at_the_time_of_the_scrape():
    scraped = Scraped()
    first = named(scraped.samples(), "statusd_reading_age_seconds")
    scraped.now += 60
    later = named(scraped.samples(), "statusd_reading_age_seconds")
    assert first == {labels(source="inference"): 3.0, labels(source="omnirt"): 1.5}
    assert later == {labels(source="inference"): 63.0, labels(source="omnirt"): 61.5}


def test_what_was_never_observed_has_neither_age_nor_lifetime():
    samples = Scraped(root=tree({"queue": SOURCES["queue"], "vllm": SOURCES["vllm"]})).samples()
    assert named(samples, "statusd_reading_age_seconds") == {}
    assert named(samples, "statusd_reading_lifetime_seconds") == {}


def test_a_clock_that_was_set_back_makes_no_negative_age():
    assert set(named(Scraped(now=NOW - 900).samples(), "statusd_reading_age_seconds").values()) == {0.0}


def test_the_lifetime_is_how_long_the_reading_is_good():
    scraped = Scraped(root=tree({"queue": observed(age=500.0, lifetime=8.0)}))
    found = named(scraped.samples(), "statusd_reading_lifetime_seconds")
    assert found == {labels(source="queue"): 8.0}


@FORMATS
def test_durations_are_a_histogram_of_each_source(accept):
    scraped = Scraped()
    for seconds in (0.0005, 0.03, 2.0, 100.0):
        scraped.stats.note("queue", Status.OK, seconds)
    samples = scraped.samples(accept)
    buckets = named(samples, "statusd_probe_duration_seconds_bucket")
    by_bound = {float(dict(pairs)["le"]): value for pairs, value in buckets.items()}
    assert list(by_bound) == [*BUCKETS, float("inf")]
    assert (by_bound[0.001], by_bound[0.02], by_bound[0.05], by_bound[2.0], by_bound[30.0]) == (1, 1, 2, 3, 3)
    assert by_bound[float("inf")] == 4
    assert samples["statusd_probe_duration_seconds_count", labels(source="queue")] == 4
    assert samples["statusd_probe_duration_seconds_sum", labels(source="queue")] == pytest.approx(102.0305)


def test_outcomes_and_transitions_count_from_nought():
    scraped = Scraped()
    scraped.stats.note("queue", Status.DOWN, 0.1)
    scraped.move("sources/queue", Status.DOWN)
    samples = scraped.samples()
    probes = named(samples, "statusd_probes_total")
    assert {dict(pairs)["status"]: value for pairs, value in probes.items()} == {
        "ok": 0, "degraded": 0, "unknown": 0, "down": 1, "off": 0,
    }  # fmt: skip
    moves = named(samples, "statusd_transitions_total")
    assert moves[labels(path="sources/queue", to="down")] == 1
    assert moves[labels(path="daemon/loop", to="degraded")] == 0
    assert labels(path="daemon/loop", to="gone") not in moves
    scraped.root = tree({})
    scraped.move("sources/queue", None)
    moves = named(scraped.samples(), "statusd_transitions_total")
    assert moves[labels(path="sources/queue", to="gone")] == 1
    assert moves[labels(path="sources/queue", to="down")] == 1


def test_the_daemons_own_parts_are_asked_at_each_scrape():
    scraped = Scraped()
    scraped.text()
    scraped.streams, scraped.lag, scraped.dropped = 9, 1.5, {"webhook": 6, "pager": 0}
    samples = scraped.samples()
    assert samples["statusd_event_streams", ()] == 9
    assert samples["statusd_loop_lag_seconds", ()] == 1.5
    assert named(samples, "statusd_dropped_records_total") == {
        labels(sink="webhook"): 6,
        labels(sink="pager"): 0,
    }
    assert samples["statusd_start_time_seconds", ()] == NOW - 3600
    [build] = named(samples, "statusd_build_info")
    assert dict(build)["version"] == "0.1.0"
    assert re.fullmatch(r"3\.\d+\.\d+\S*", dict(build)["python"])


@FORMATS
@pytest.mark.parametrize("name", ['a"b', "a\\", "a\nb", 'x"} 1\nevil{y="', "naïve ☃", "a/b", "{}", "é\u2028"])
def test_no_name_breaks_out_of_its_label(accept, name):
    scraped = Scraped(root=tree({}, models=[name]), dropped={name: 3})
    samples = scraped.samples(accept)
    assert samples["statusd_dropped_records_total", labels(sink=name)] == 3
    usual = Scraped(root=tree({}, models=["m"]), dropped={"m": 3}).samples(accept)
    assert {key for key, _ in samples} == {key for key, _ in usual}
    assert len(samples) == len(usual)


def test_requests_are_counted_by_endpoint_stage_and_code():
    found = named(populated().samples(), "statusd_http_requests_total")
    assert found == {
        labels(route="/health", stage="front", code="200"): 70,
        labels(route="/events", stage="app", code="503"): 2,
        labels(route="none", stage="app", code="none"): 1,
    }


@FORMATS
def test_durations_of_answers_are_a_histogram_of_each_endpoint(accept):
    scraped = Scraped()
    for seconds in (0.0004, 0.3, 61.0):
        scraped.common.traffic.took("/state", seconds)
    samples = scraped.samples(accept)
    buckets = named(samples, "statusd_http_request_duration_seconds_bucket")
    by_bound = {float(dict(pairs)["le"]): value for pairs, value in buckets.items()}
    assert (by_bound[0.001], by_bound[0.2], by_bound[0.5], by_bound[30.0]) == (1, 1, 2, 2)
    assert samples["statusd_http_request_duration_seconds_count", labels(route="/state")] == 3
    assert samples["statusd_http_request_duration_seconds_sum", labels(route="/state")] == pytest.approx(
        61.3004
    )


def test_connections_are_asked_for_at_each_scrape():
    scraped = Scraped()
    scraped.text()
    traffic = scraped.common.traffic
    traffic.connections, traffic.accepted, traffic.failed_handshakes, traffic.waiting = 3, 60, 7, 2
    samples = scraped.samples()
    assert samples["statusd_http_connections", ()] == 3
    assert samples["statusd_http_accepted_connections_total", ()] == 60
    assert samples["statusd_http_failed_handshakes_total", ()] == 7
    assert samples["statusd_http_waiting_requests", ()] == 2


def test_every_bound_is_there_with_its_value_and_counts_from_nought():
    scraped = Scraped()
    bounds = attrs.asdict(scraped.common.limits)
    scraped.common.traffic.limited["send_timeout"] += 1
    samples = scraped.samples()
    limits, limited = named(samples, "statusd_http_limit"), named(samples, "statusd_http_limited_total")
    assert limits == {labels(bound=bound): value for bound, value in bounds.items()}
    assert limited == {labels(bound=bound): int(bound == "send_timeout") for bound in (*bounds, *FIXED)}
    assert limits[labels(bound="connections")] == 512


def test_what_is_counted_as_a_bound_is_one():
    code = "".join(file.read_text() for file in (PAGE.parents[1] / "daemon/statusd/web").rglob("*.py"))
    counted = set(
        re.findall(r'limited\["(\w+)"\]|(?:CALM|self\.\w+), "(\w+)"\)|due(?:_at)?\(.*"(\w+)"\)', code)
    )
    names = {name for found in counted for name in found if name}
    assert {"connections", "streams", "http2_frames", "idle_timeout"} <= names
    assert names <= {*attrs.fields_dict(Limits), *FIXED}


def test_contained_failures_count_from_nought():
    scraped = Scraped()
    assert set(named(scraped.samples(), "statusd_http_failures_total").values()) == {0}
    scraped.common.guard.note("accept", OSError())
    found = named(scraped.samples(), "statusd_http_failures_total")
    assert found == {labels(what="accept"): 1, labels(what="connection"): 0, labels(what="request"): 0}


def test_an_empty_tree_is_a_scrape_too():
    samples = Scraped(root=Node(status=Status.UNKNOWN), dropped={}).samples()
    assert samples["statusd_node_status", labels(path="", statusd_node_status="unknown")] == 1
    assert samples["statusd_event_streams", ()] == 2


def test_what_reports_say_is_not_in_a_scrape():
    secret = Secret("hunter2hunter2").reveal()
    source = observed(
        reason="odd_reason",
        message=secret,
        facts={"key": secret},
        measurements={"latency": 12345.678},
        payload=Payload(body=secret.encode(), content_type="text/plain"),
    )
    text = Scraped(root=tree({"queue": source})).text()
    assert secret not in text
    assert "odd_reason" not in text
    assert "12345" not in text


async def test_an_upstream_with_2000_readers_adds_no_series(nursery, autojump_clock):
    info = SourceInfo(name="tk", plugin="takeoff", backend="takeoff")
    hub = Hub([Tracked(info=info, models=(), first=(pending(is_configured=True),))], {}, clock=TrioClock())
    stats = Stats()
    hub.listen(stats.take)
    await nursery.start(hub.run)

    async def series(reports):
        async with hub.inbox() as inbox:
            await inbox.send(Observation(source="tk", reports=reports, lifetime=8.0))
        await hub.settled()
        scraped = Scraped(root=hub.snapshot.root, stats=stats)
        return set(scraped.samples())

    few = await series((Report.ok(),))
    readers = tuple(
        Report(path=f"readers/{number}", status=Status.DOWN, reason="x") for number in range(2000)
    )
    many = await series((Report.ok(), *readers))
    assert len(hub.snapshot.find("sources/tk/readers").children) == 2000
    assert many == few
    assert await series((Report.ok(),)) == few  # and none for those that went


def test_nothing_is_left_in_the_library_default_registry():
    before = prometheus_client.generate_latest()
    first, second = populated(), Scraped()
    assert "sources/vllm" in first.text()
    assert "sources/vllm" in second.text()
    assert b"statusd" not in before + prometheus_client.generate_latest()


def test_scrapes_do_not_pile_up():
    scraped = populated()
    scraped.text()
    tracemalloc.start()
    try:
        for _ in range(3):
            scraped.text()
        first, _ = tracemalloc.get_traced_memory()
        for _ in range(30):
            scraped.text()
        last, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last - first < 20_000


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ('Application/OpenMetrics-Text; Version="1.0.0"', True),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        ("text/plain;version=0.0.4;q=0.5, application/openmetrics-text", True),
        ("text/plain, application/openmetrics-text;q=0.5", False),
        ("application/openmetrics-text;q=0.5, */*", False),
        ("application/openmetrics-text;q=0.5, text/*;q=0.4, */*", True),
        ("application/openmetrics-text;q=0, text/plain;q=0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;version=2.0.0, application/openmetrics-text;version=1.0.0;q=0.1", True),
        ("application/openmetrics-text;version=abc", False),
        ("application/openmetrics-text;q=nan", False),
        ("application/openmetrics-text;q=1e9", False),
        ("application/openmetrics-text;q", False),
        (",;,=;q==,", False),
    ],
)  # fmt: skip
def test_the_format_is_what_the_client_prefers(accept, is_openmetrics):
    assert wants_openmetrics(accept) is is_openmetrics


@given(st.text(alphabet=st.sampled_from('aq=;,/*.01"\\ é\t') | st.characters()))
def test_no_accept_is_an_error(accept):
    assert wants_openmetrics(accept) in {True, False}
    assert wants_openmetrics("application/openmetrics-text;" + accept) in {True, False}


@pytest.mark.parametrize(
    "piece", [",", "a,", ";", "a;q=1,", "*/*,", "*/*;", "application/openmetrics-text;a,"]
)
def test_no_accept_takes_long(piece):
    field = piece * (4_000_000 // len(piece))  # a header gets 24 KB; in quadratic time the test would not end
    assert wants_openmetrics(field) in {True, False}


@attrs.define
class Priced:
    """A collector without metrics, that costs what a test says."""

    price: float
    spent: float = 0.0
    scrapes: int = 0

    def collect(self):
        self.scrapes += 1
        self.spent += self.price
        return ()


@attrs.define
class Time:
    at: float = 100.0


def test_cheap_metrics_are_written_anew_for_everyone():
    priced = Priced(CHEAP / 2)
    exposition = Exposition(priced, clock=lambda: 100.0, cost=lambda: priced.spent)
    for _ in range(5):
        exposition.document("")
    assert priced.scrapes == 5


def test_dear_metrics_take_no_more_than_a_twentieth_of_the_time():
    priced, time = Priced(0.06), Time()
    exposition = Exposition(priced, clock=lambda: time.at, cost=lambda: priced.spent)
    first = exposition.document("")
    time.at += 0.06 * SPARING - 0.01
    assert exposition.document("text/plain") is first
    other = exposition.document(OPENMETRICS)
    assert other.content_type == OPENMETRICS_TYPE
    assert exposition.document(OPENMETRICS) is other
    time.at += 0.02
    assert exposition.document("") is not first
    assert priced.scrapes == 3


def test_the_process_is_measured():
    found = {family.name: [sample.value for sample in family.samples] for family in usage()}
    [memory], [files], [most] = (
        found["process_resident_memory_bytes"], found["process_open_fds"], found["process_max_fds"],
    )  # fmt: skip
    assert 1 << 20 < memory < 1 << 36
    assert 3 <= files <= most
    assert found["process_cpu_seconds"][0] > 0


def test_what_a_sandbox_hides_is_left_out(tmp_path):
    found = {family.name: family.samples for family in usage(tmp_path)}
    assert found["process_resident_memory_bytes"] == found["process_open_fds"] == []
    assert found["process_cpu_seconds"] != []


def test_the_page_lists_every_metric_with_its_labels_and_meaning():
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \| (.*?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    listed = [
        (name, kind, tuple(re.findall(r"`(\w+)`", cell)), meaning) for name, kind, cell, meaning in rows
    ]
    assert listed == [(family.name, family.kind, family.labels, family.meaning) for family in FAMILIES]
