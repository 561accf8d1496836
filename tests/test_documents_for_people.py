"""What the texts for people say is so: links lead somewhere, commands exist, examples are without mistakes."""

import os
import re
from pathlib import Path

import attrs
import pytest

from statusd import REASONS
from statusd.commands.check import check
from statusd.web.edge.access_log import line
from statusd.web.edge.limits import Limits
from statusd.web.edge.traffic import APP, FIXED, Exchange

PROJECT = Path(__file__).parents[1]
TEXTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("contrib/*/README.md")])


ABSENT = {"sources.omnirt.api_key", "sources.omnirt.endpoint"}
"""What an example refers to and is not here: the unit would hand over the credential, and no name is looked up."""


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_relative_link_leads_to_a_file(text):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text.read_text())
    missing = [
        target for target in targets if "://" not in target and not (text.parent / target).resolve().exists()
    ]
    assert missing == []


def anchors(text):
    """Return what the headings of a text can be linked by, as GitHub names them."""
    prose = re.sub(r"```.*?```", "", text.read_text(), flags=re.DOTALL)
    found = []
    for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE):
        shown = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        found.append(f"{name}-{found.count(name)}" if name in found else name)
    return found


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_link_to_a_heading_leads_to_one(text):
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", text.read_text())
    missing = [
        f"{target}#{anchor}"
        for target, anchor in links
        if "://" not in target and anchor not in anchors((text.parent / target).resolve() if target else text)
    ]
    assert missing == []


@pytest.mark.parametrize("name", ["operations.md", "plugins.md"])
def test_the_long_texts_begin_with_links_to_all_of_their_parts(name):
    text = PROJECT / "docs" / name
    contents = text.read_text().split("\n## ")[0]
    parts = re.findall(r"^## .*$", text.read_text(), re.MULTILINE)
    linked = re.findall(r"\]\(#([^)]+)\)", contents)
    assert len(parts) > 5
    headings = [re.sub(r"[^\w\- ]", "", part[3:].lower()).replace(" ", "-") for part in parts]
    assert [heading for heading in headings if heading not in linked] == []


@pytest.mark.parametrize("name", ["scripts/demo", "scripts/test", ".ci/run"])
def test_the_commands_to_type_can_be_run(name):
    assert os.access(PROJECT / name, os.X_OK)
    assert name in (PROJECT / "README.md").read_text() + (PROJECT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize(("which", "missing"), [(0, ABSENT), (1, {"http.token", "http.tls.certificate"})])
def test_the_configurations_in_the_readme_have_no_mistakes(tmp_path, which, missing):
    examples = re.findall(r"```toml\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    assert len(examples) == 2
    file = tmp_path / "statusd.toml"
    file.write_text(examples[which])
    findings = check(str(file), {})
    assert findings.mistakes == []
    assert {fault.path for fault in findings.faults} <= missing


def test_operators_are_told_what_to_do_about_every_bound():
    text = (PROJECT / "docs/operations.md").read_text()
    table = text.split("| bound | a hit is |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {*attrs.fields_dict(Limits), *FIXED}


def test_the_line_of_the_access_log_is_as_operators_are_told():
    text = (PROJECT / "docs/operations.md").read_text()
    [shown] = re.findall(r"^[\d.]+ \"GET .*$", text, re.MULTILINE)
    exchange = Exchange(
        client="192.0.2.7",
        method="GET",
        target="/state/models?since=41",
        version="1.1",
        status=200,
        size=1834,
        seconds=0.0021,
        stage=APP,
    )
    assert line(exchange) == shown


def test_operators_are_told_what_to_do_about_every_reason():
    text = (PROJECT / "docs/operations.md").read_text()
    table = text.split("| reason | look at |")[1].split("\n\n")[0]
    first_cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    words = set(re.findall(r"`(\w+)`", " ".join(first_cells)))
    assert words == set(REASONS) - {"ok"}
