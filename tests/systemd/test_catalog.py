"""The message catalogue: an entry for each kind of event, in the form that the journal takes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from statusd import events
from statusd.events import KINDS

CATALOG = Path(__file__).parents[2] / "systemd/statusd.catalog"
TEXT = CATALOG.read_text()
ENTRIES = dict(re.findall(r"^-- ([0-9a-f]{32})\n(.*?)(?=^-- |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def test_each_kind_has_an_entry_and_each_entry_a_kind_in_the_same_order():
    assert list(ENTRIES) == [kind.id for kind in KINDS]
    assert TEXT.count("\n-- ") == len(KINDS)


def test_names_and_ids_are_unique_and_well_formed():
    assert len({kind.id for kind in KINDS}) == len({kind.name for kind in KINDS}) == len(KINDS) > 20
    for kind in KINDS:
        assert re.fullmatch("[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", kind.id), (
            kind
        )  # RFC 9562, version 4
        assert getattr(events, kind.name.upper()) is kind


def test_the_guide_for_operators_lists_the_same_kinds():
    guide = (CATALOG.parents[1] / "docs/operations.md").read_text()
    listed = re.findall(r"^\| `([a-z_]+)` \| `([0-9a-f]{32})` \|$", guide, re.MULTILINE)
    assert listed == [(kind.name, kind.id) for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_entry_says_what_it_is_and_what_to_do(kind):
    head, _, body = ENTRIES[kind.id].partition("\n\n")
    subject, defined = head.split("\n")
    assert re.fullmatch(r"Subject: .{5,80}", subject)
    assert defined == "Defined-By: statusd"
    explained, _, remedy = body.strip().partition("\n\n")
    assert explained
    assert remedy
    assert f"# {kind.name}\n-- {kind.id}\n" in TEXT
    assert all(re.fullmatch("STATUSD_[A-Z_]+", name) for name in re.findall(r"@(\w+)@", head + body))


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="needs journalctl")
def test_the_journal_takes_the_catalogue(tmp_path):
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(CATALOG, folder)

    def journalctl(*arguments):
        command = ["journalctl", f"--root={tmp_path}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert not done.stderr
        return done.stdout

    journalctl("--update-catalog")
    listed = journalctl("--list-catalog").splitlines()
    assert sorted(line.split()[0] for line in listed) == sorted(ENTRIES)
    assert all(line.split()[1] == "statusd:" for line in listed)
    shown = journalctl("--dump-catalog", events.DRAINED.id)
    assert "statusd undrain @STATUSD_PATH@" in shown
