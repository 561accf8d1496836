"""What is in contrib/ for Prometheus and Grafana, held against a scrape, by promtool where it is installed."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest

from statusd import Status
from tests.web.scraping import OPENMETRICS, populated

CONTRIB = Path(__file__).parents[2] / "contrib"
RULES = CONTRIB / "prometheus/statusd.rules.yml"
RULE_TESTS = CONTRIB / "prometheus/statusd.rules.test.yml"
DASHBOARD = json.loads((CONTRIB / "grafana/statusd.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE)
RULE_EXPRESSIONS = re.findall(r"^ +expr: (.*)$", RULES.read_text(), re.MULTILINE)
VARIABLES = {"$__rate_interval": "5m", "$instance": "h", "$source": ".*"}
OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs the program promtool (Debian: prometheus)"
)


def promtool(*arguments, **given):
    """Return what promtool printed; it must succeed."""
    done = subprocess.run(
        ["promtool", *arguments], check=False, capture_output=True, text=True, timeout=60, **given
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def filled_in(expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def panel_expressions():
    return [
        (f"{panel['title']} {target['refId']}", filled_in(target["expr"]))
        for panel in PANELS
        for target in panel["targets"]
    ]


def annotation_expressions():
    return [(one["name"], filled_in(one["expr"])) for one in DASHBOARD["annotations"]["list"]]


def in_scrape():
    """Return name of a series -> names of its labels."""
    found = {}
    for name, pairs in populated().samples():
        found.setdefault(name, set()).update(label for label, _ in pairs)
    return found


def selectors(expression):
    """Yield (name of a series, labels it is asked for) of a PromQL expression."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    for name, matchers in re.findall(r"\b((?:statusd|process)_\w+)\s*(?:\{([^}]*)\})?(?!\w*\s*=)", bare):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))


def grouped(expression):
    """Return the labels by which a PromQL expression groups and matches."""
    lists = re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", expression)
    return {label.strip() for one in lists for label in one.split(",")}


@needs_promtool
def test_promtool_finds_nothing_wrong_with_a_scrape():
    assert promtool("check", "metrics", input=populated().text()) == ""


def test_openmetrics_ends_as_it_must():
    assert populated().text(OPENMETRICS).endswith("\n# EOF\n")


@needs_promtool
def test_the_configuration_and_the_rules_are_valid():
    said = promtool("check", "config", CONTRIB / "prometheus/scrape.yml")
    assert f"{len(ALERTS)} rules found" in said
    promtool("check", "rules", RULES)


@needs_promtool
def test_every_alert_fires_when_it_should_and_not_before():
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)


def test_every_alert_is_tested_both_ways_and_says_what_to_do():
    tests = RULE_TESTS.read_text()
    blocks = re.split(r"^ +- alert: ", RULES.read_text(), flags=re.MULTILINE)[1:]
    assert len(ALERTS) == len(set(ALERTS)) == len(blocks) == len(RULE_EXPRESSIONS) >= 10
    for alert, block in zip(ALERTS, blocks, strict=True):
        assert f"alertname: {alert}, exp_alerts: []" in tests
        assert re.search(rf"alertname: {alert}\n +exp_alerts:\n +- exp_labels", tests), alert
        assert re.search(r"severity: (critical|warning|info)\n", block), alert
        for annotation in ("summary", "description", "runbook"):
            assert re.search(rf"^ +{annotation}: \".+\"$", block, re.MULTILINE), alert


@pytest.mark.parametrize("expression", RULE_EXPRESSIONS)
def test_rules_ask_for_what_a_scrape_has(expression):
    assert_is_in_scrape(expression)


@pytest.mark.parametrize(
    ("title", "expression"),
    panel_expressions() + annotation_expressions(),
    ids=lambda value: value if "{" not in value else "",
)
def test_the_dashboard_asks_for_what_a_scrape_has(title, expression):
    assert_is_in_scrape(expression)
    assert 'instance="h"' in expression, f"{title} mixes several instances"


def assert_is_in_scrape(expression):
    found = in_scrape()
    asked = list(selectors(expression))
    assert asked or "up{" in expression
    known = set(OF_PROMETHEUS)
    for name, labels in asked:
        assert name in found, f"no scrape has {name}"
        assert labels <= found[name] | OF_PROMETHEUS, f"{name} has no {labels - found[name]}"
        known |= found[name]
    assert grouped(expression) <= known


def test_the_texts_of_alerts_and_legends_name_labels_that_are_there():
    labels = {label for names in in_scrape().values() for label in names} | OF_PROMETHEUS
    named = set(re.findall(r"\$labels\.(\w+)", RULES.read_text()))
    legends = [target["legendFormat"] for panel in PANELS for target in panel["targets"]]
    named |= set(re.findall(r"\{\{(\w+)\}\}", " ".join(legends)))
    assert named
    assert named <= labels
    asked = [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"][1:]]
    for query in asked:
        name, label = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", query).groups()
        assert label in in_scrape()[name] | OF_PROMETHEUS


def test_the_dashboard_shows_every_metric():
    names = {name for _, expression in panel_expressions() for name, _ in selectors(expression)}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
    assert shown == {re.sub(r"_(bucket|sum|count)$", "", name) for name in in_scrape()}


def test_the_dashboard_belongs_to_no_installation():
    assert DASHBOARD["id"] is None
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    for part in [*PANELS, *DASHBOARD["annotations"]["list"]]:
        assert part["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in part.get("targets", ()))
    assert "://" not in json.dumps(DASHBOARD)


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), (one, other)


def test_every_status_has_its_word_and_colour_wherever_it_is_shown():
    words = [
        {option["text"] for option in mapping["options"].values()}
        for panel in PANELS
        for mapping in panel["fieldConfig"]["defaults"].get("mappings", ())
    ]
    assert len(words) == 3
    assert all(found == set(Status) for found in words)


def series():
    """Yield the series of a scrape as promtool's unit tests take them, counters growing."""
    for (name, pairs), value in populated().samples().items():
        labels = ", ".join(
            f'{label}="{text}"' for label, text in (*pairs, ("instance", "h"), ("job", "statusd"))
        )
        is_growing = name.endswith(("_total", "_bucket", "_sum", "_count", "_start_time_seconds"))
        yield {"series": f"{name}{{{labels}}}", "values": f"{value:g}{'+1' if is_growing else '+0'}x80"}


@needs_promtool
def test_every_expression_of_the_dashboard_shows_something(tmp_path):
    expressions = panel_expressions() + annotation_expressions()
    wanted = [
        {
            "expr": f"clamp(count({expression}), 1, 1)",
            "eval_time": "15m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for _, expression in expressions
    ]
    evaluate(tmp_path, list(series()), wanted)


@needs_promtool
@pytest.mark.parametrize("status", list(Status))
def test_timelines_show_each_status_by_its_own_word(status, tmp_path):
    [panel] = [panel for panel in PANELS if panel["title"] == "Models"]
    [mapping] = panel["fieldConfig"]["defaults"]["mappings"]
    [code] = [int(code) for code, option in mapping["options"].items() if option["text"] == status]
    [target] = panel["targets"]
    given = [
        {
            "series": f'statusd_node_status{{instance="h", path="models/m", statusd_node_status="{each}"}}',
            "values": f"{int(each is status)}x10",
        }
        for each in Status
    ]
    wanted = {"labels": '{path="models/m"}', "value": code}
    evaluate(
        tmp_path,
        given,
        [{"expr": filled_in(target["expr"]), "eval_time": "1m", "exp_samples": [wanted]}],
    )


def evaluate(folder, given, wanted):
    """Let promtool evaluate expressions on series."""
    tests = {
        "evaluation_interval": "15s",
        "tests": [{"interval": "15s", "input_series": given, "promql_expr_test": wanted}],
    }
    file = folder / "test.yml"
    file.write_text(json.dumps(tests))  # JSON is YAML
    promtool("test", "rules", file)
