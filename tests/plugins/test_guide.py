"""docs/plugins.md, held against what it describes: its code runs, and it leaves nothing out."""

from __future__ import annotations

import inspect
import re
import tomllib
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from trio.testing import wait_all_tasks_blocked

import statusd
from statusd import Node, Report, Snapshot, SourceInfo, Status, ViewContext
from statusd.config.common import COMMON_KEYS
from statusd.config.settings import read_settings
from statusd.plugin import hookspecs, loading, validation
from statusd.runtime import lag, sinks, watching
from statusd.testing import FakeContext, FakeHttp, FakeRedis, FakeResponse
from statusd_plugins import http_answers
from statusd_plugins.http_presets import PRESETS

GUIDE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
HOOKS = ("statusd_register_sources", "statusd_register_views", "statusd_register_sinks")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def module(monkeypatch) -> types.ModuleType:
    """All Python of the guide, in its order, as one importable module."""
    made = types.ModuleType("statusd_transcriber")
    monkeypatch.setitem(__import__("sys").modules, made.__name__, made)
    exec(
        compile("\n".join(blocks("python")), "docs/plugins.md", "exec"), made.__dict__
    )  # the guide's own code
    return made


def test_the_first_example_is_a_whole_plugin_of_under_30_lines():
    assert len(blocks("python")[0].splitlines()) < 30
    made: dict[str, Any] = {}
    exec(compile(blocks("python")[0], "docs/plugins.md", "exec"), made)  # the guide's own code
    assert made["statusd_register_sources"]


def test_it_loads_as_installed_plugins_do(module):
    del module
    name, value = next(iter(tomllib.loads(blocks("toml")[0])["project"]["entry-points"]["statusd"].items()))
    catalogue = loading.load_plugins({name}, points=[EntryPoint(name, value, "statusd")])
    assert catalogue.plugins[name].error is None
    assert catalogue.source_type(name).__name__ == "Transcriber"
    assert set(catalogue.views) == {"waiting"}
    assert set(catalogue.sinks) == {"bell"}


def test_its_configuration_is_one():
    settings = read_settings(tomllib.loads(blocks("toml")[1]), "the guide", {})
    assert settings.mistakes == ()
    assert settings.sources["minutes"].plugin == "transcriber"
    assert settings.models == {"whisper": ("minutes",)}


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        (3, Report.ok(facts={"waiting": 3})),
        (10, Report.degraded("busy", "10 jobs are waiting.", facts={"waiting": 10})),
    ],
)
async def test_the_example_probes(module, waiting, expected):
    http = FakeHttp({"/queue": FakeResponse(200, b'{"waiting": %d}' % waiting)})
    source = module.Transcriber(context=FakeContext(http=http), url=statusd.Url.parse("http://x"))
    assert await source.probe() == expected


async def test_the_tests_in_the_guide_pass(module, autojump_clock):
    await module.test_waiting_jobs_are_a_fact()
    await module.test_it_keeps_what_every_source_owes_the_daemon()


def test_the_reports_in_the_guide_are_within_the_contract(module):
    assert len(validation.checked_reports(module.reports, models=("whisper",))) == 4


def test_the_failure_in_the_guide_labels_every_model(module):
    source = module.LabelledTranscriber(context=FakeContext(models=("a", "b")))
    reports = validation.checked_reports(source.on_failure(Report.down("timeout")), models=("a", "b"))
    assert [(report.model, report.label) for report in reports] == [
        (None, ""),
        ("a", "transcriber_gone"),
        ("b", "transcriber_gone"),
    ]


def test_the_view_in_the_guide_renders(module):
    infos = (SourceInfo(name="minutes", plugin="transcriber", backend="transcriber"),)
    view = module.WaitingView(context=ViewContext(sources=infos, models=()))
    leaf = Node(status=Status.OK, facts={"waiting": 3})
    root = Node(status=Status.OK, children={"sources": Node(status=Status.OK, children={"minutes": leaf})})
    assert view.paths() == ("/waiting",)
    assert (
        view.render("/waiting", Snapshot(root=root, revision=1, version=1, at=0.0)).body == b'{"minutes": 3}'
    )
    empty = Snapshot(root=Node(status=Status.OK), revision=1, version=1, at=0.0)
    assert view.render("/waiting", empty).status == 503


async def test_the_source_in_the_guide_listens(module, nursery):
    redis = FakeRedis(reply=3)
    source = module.WaitingJobs(context=FakeContext(redis=redis), url=statusd.Url.parse("redis://x"))
    assert await source.probe() == Report.ok(facts={"waiting": 3})
    heard: list[int] = []
    nursery.start_soon(source.watch, lambda: heard.append(1))
    await wait_all_tasks_blocked()
    redis.change()
    assert (redis.watched, len(heard)) == ([("jobs",)], 2)
    nursery.cancel_scope.cancel()


def test_the_second_view_in_the_guide_says_what_its_answer_is_worth(module):
    infos = tuple(
        SourceInfo(name=name, plugin=plugin, backend="")
        for name, plugin in (("minutes", "transcriber"), ("queue", "redis_queue"))
    )
    view = module.HonestWaitingView(context=ViewContext(sources=infos, models=()))
    assert view.sources("/waiting") == ("minutes",)
    assert msgspec.json.schema(view.responses("/waiting")[200])["type"] == "object"
    empty = Snapshot(root=Node(status=Status.OK), revision=1, version=1, at=0.0)
    assert view.render("/waiting", empty) == statusd.Document(body=b"{}", detail="not_configured")


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_its_exact_signature(hook):
    signature = str(inspect.signature(getattr(hookspecs, hook))).replace("'", "")
    assert f"@hookimpl\ndef {hook}{signature}:\n" in GUIDE


def test_there_are_no_further_hooks():
    assert {name for name in vars(hookspecs) if name.startswith("statusd_")} == set(HOOKS)


def test_every_public_name_is_in_the_guide():
    missing = [name for name in statusd.__all__ if not re.search(rf"\b{name}\b", GUIDE)]
    assert missing == []


def test_everything_on_the_context_is_in_the_guide():
    members = {name for name in vars(statusd.Context) if not name.startswith("_")}
    assert {name for name in members if f"`context.{name}`" not in GUIDE} == set()


@pytest.mark.parametrize(
    "protocol",
    [
        statusd.HttpClient,
        statusd.HttpResponse,
        statusd.WebSocketClient,
        statusd.TcpClient,
        statusd.RedisClient,
        statusd.Completed,
    ],
)
def test_everything_that_the_context_gives_is_in_the_guide(protocol):
    members = {name for name in vars(protocol) if not name.startswith("_")}
    table = GUIDE.split("### What the daemon hands over")[1].split("\n## ")[0]
    assert {name for name in members if not re.search(rf"[`.]{name}[`(]", table)} == set()


def test_everything_on_a_source_is_in_the_guide():
    members = {name for name in (*vars(statusd.Source), *vars(statusd.Sink)) if not name.startswith("_")}
    assert {name for name in members if name not in GUIDE} == set()


def test_everything_on_a_view_and_what_it_sees_is_in_the_guide():
    section = GUIDE.split("\n## Views\n")[1].split("\n## ")[0]
    members = {name for name in vars(statusd.View) if not name.startswith("_")}
    fields = [attrs.fields(each) for each in (statusd.Document, SourceInfo, Node)]
    members |= {field.name for each in fields for field in each} - {"basis", "counts", "revision"}
    assert {name for name in members if not re.search(rf"\b{name}\b", section)} == set()


def test_the_keys_that_every_source_has_are_all_named():
    (sentence,) = re.findall(r"^Every source also has the keys .*?;", GUIDE, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"`([a-z_]+)`", sentence)) == COMMON_KEYS


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("reports of one probe | {}", validation.MAX_REPORTS),
        ("together | {} bytes", validation.MAX_FACTS),
        ("facts | {} levels", validation.MAX_DEPTH),
        ("cut at {} characters", validation.MAX_MESSAGE),
        ("label | {} characters", validation.MAX_WORD),
        ("path | {} segments", validation.MAX_SEGMENTS),
        ("segments, {} characters", validation.MAX_PATH),
        ("payload | {} bytes", validation.MAX_PAYLOAD),
        ("body may have {} bytes", validation.MAX_PAYLOAD),
        ("a queue of {}", sinks.QUEUE),
        ("held the loop for {} s", lag.THRESHOLD),
        ("0.25 s to {:g} s while", watching.PAUSES[-1]),
        ("from\n  {} s to", watching.PAUSES[0]),
    ],
)
def test_every_limit_is_the_true_one(row, limit):
    assert row.format(limit) in GUIDE


def test_every_reason_named_for_containment_exists():
    table = GUIDE[GUIDE.index("## What is contained") : GUIDE.index("A plugin is code")]
    words = {word for word in re.findall(r"`([a-z_]+)`", table) if "_" in word} - {"on_failure"}
    assert words
    assert words <= set(statusd.REASONS)


def test_every_preset_has_its_row_with_its_paths():
    table = GUIDE[GUIDE.index("| `preset` |") :]
    for name, preset in PRESETS.items():
        (row,) = [line for line in table.splitlines() if line.startswith("| ") and f"`{name}`" in line]
        for path in (
            preset.path,
            preset.models_path,
            preset.active_path,
            preset.contains,
            preset.active_fact,
        ):
            assert path in row
        for fact in (*preset.facts, *preset.list_facts):
            assert f"`{fact}`" in row


def test_the_usual_words_of_a_status_are_all_there():
    start = GUIDE.index("without it, ok, healthy")
    text = GUIDE[start : GUIDE.index("A word on", start)]
    assert {word for word in http_answers.USUAL_WORDS if not re.search(rf"\b{word}\b", text)} == set()


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", GUIDE):
        assert (Path(__file__).parents[2] / "docs" / link).exists(), link
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", GUIDE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", GUIDE)) <= headings
