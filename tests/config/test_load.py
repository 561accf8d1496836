"""Which file is read, and what is said where it cannot be."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from statusd.config import ConfigError, default_text, load, read, read_text

TEXT = '[sources.{}]\nplugin = "local"\n'


@pytest.fixture(autouse=True)
def system_path(monkeypatch, tmp_path):
    """Put the system's file where there is none yet."""
    path = tmp_path / "etc" / "statusd.toml"
    monkeypatch.setattr(load, "SYSTEM_PATH", str(path))
    return path


def write(path, name):
    path.parent.mkdir(exist_ok=True)
    path.write_text(TEXT.format(name))
    return str(path)


def told(path=None, environ=None):
    with pytest.raises(ConfigError) as caught:
        read(path, environ or {})
    return [str(mistake) for mistake in caught.value.mistakes]


def test_the_first_of_option_variable_system_file_and_default_is_read(tmp_path, system_path):
    assert read(None, {}).origin == "the built-in configuration"
    assert [*read(None, {}).sources] == ["inference", "queue", "omnirt", "flashhead", "quicktalk", "mock"]
    assert read(None, {"STATUSD_CONFIG": ""}).origin == "the built-in configuration"
    write(system_path, "system")
    assert (read(None, {}).origin, [*read(None, {}).sources]) == (str(system_path), ["system"])
    named = {"STATUSD_CONFIG": write(tmp_path / "v.toml", "variable")}
    assert [*read(None, named).sources] == ["variable"]
    assert [*read(write(tmp_path / "o.toml", "option"), named).sources] == ["option"]


def test_bind_replaces_the_configured_addresses():
    assert [str(bind) for bind in read(None, {}).http.bind] == ["127.0.0.1:8000"]
    assert [str(bind) for bind in read(None, {"STATUSD_BIND": "[::1]:1"}).http.bind] == ["[::1]:1"]
    assert [str(bind) for bind in read(None, {}, ["127.0.0.1:0"]).http.bind] == ["127.0.0.1:0"]


def test_a_file_that_cannot_be_had_is_told_with_the_remedy(tmp_path):
    absent = tmp_path / "absent.toml"
    assert told(str(absent)) == ["does not exist; name an existing file with --config"]
    assert told(None, {"STATUSD_CONFIG": str(absent)}) == [
        "does not exist; correct the variable STATUSD_CONFIG"
    ]
    assert told(str(tmp_path)) == ["is a directory; name an existing file with --config"]
    assert told(f"{write(tmp_path / 'x', 'x')}/y")[0].endswith(
        "does not exist; name an existing file with --config"
    )
    assert told("a\0b")[0].endswith(
        "is no path: it contains a NUL character; name an existing file with --config"
    )
    assert told("x" * 5000)[0].endswith("is too long a path; name an existing file with --config")


def refuse(*_args, **_named):
    raise PermissionError(13, "refused")


def test_a_file_without_permission_is_told(monkeypatch, system_path):
    write(system_path, "system")
    monkeypatch.setattr(load, "open", refuse, raising=False)
    assert told() == ["may not be read by this user; correct or remove it"]


def test_a_system_file_that_cannot_be_looked_at_is_not_taken_for_absent(monkeypatch, system_path):
    monkeypatch.setattr(load, "os", SimpleNamespace(**{**vars(os), "stat": refuse}))
    assert told() == ["does not exist; correct or remove it"]


def test_a_path_that_is_not_utf8_is_shown_as_text_that_can_be_sent(tmp_path):
    path = os.fsdecode(bytes(tmp_path) + b"/c\xff.toml")
    with pytest.raises(ConfigError) as told:
        read(path, {})
    assert told.value.origin.encode().endswith(rb"/c\udcff.toml")
    assert read(write(Path(path), "it"), {}).origin.encode().endswith(rb"/c\udcff.toml")
    Path(path).write_bytes(b"\xff")
    with pytest.raises(ConfigError) as told:
        read(path, {})
    assert told.value.origin.encode().endswith(rb"/c\udcff.toml")


def test_a_pipe_is_read_to_its_end_and_not_waited_for_for_ever(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(TEXT.format("piped"),))
    writer.start()
    assert [*read(str(pipe), {}).sources] == ["piped"]
    writer.join()
    end, begin = os.pipe()
    os.write(begin, TEXT.format("substituted").encode())
    os.close(begin)  # as a shell's <(...) may have done by then
    assert [*read(f"/dev/fd/{end}", {}).sources] == ["substituted"]
    empty = "is a pipe through which nothing comes, or nothing more: it can be read only once"
    # As at a reload: a configuration of nothing would lift the token, and listen elsewhere.
    assert told(f"/dev/fd/{end}") == [f"{empty}; name an existing file with --config"]
    os.close(end)
    monkeypatch.setattr(load, "PIPE", 0.05)
    expected = [
        "is a pipe that nobody has written to its end within 10 s; name an existing file with --config"
    ]
    assert told(str(pipe)) == expected
    descriptor = os.open(pipe, os.O_RDWR)
    try:
        os.write(descriptor, b"x = 1\n")
        assert told(str(pipe)) == expected
    finally:
        os.close(descriptor)


def test_an_endless_file_is_read_up_to_its_bound():
    assert told("/dev/zero") == ["is over 1048576 bytes; name an existing file with --config"]


def test_text_that_is_not_utf8_is_told_with_its_line(tmp_path):
    (tmp_path / "x").write_bytes(b"# a\n# \xff\n")
    assert told(str(tmp_path / "x")) == ["line 2: not UTF-8; save the file as UTF-8"]


def test_a_byte_order_mark_and_windows_line_ends_are_taken(tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf[sources.a]\r\nplugin = 'local'\r\n")
    assert [*read(str(tmp_path / "x"), {}).sources] == ["a"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "\na b",
            "line 2, column 3: not TOML: expected '=' after a key in a key/value pair; correct it (see https://toml.io)",
        ),
        ("a = [", "end of document: not TOML: invalid value; correct it (see https://toml.io)"),
        (
            "a = 1\na = 2\n",
            "line 2, column 6: not TOML: cannot overwrite a value; correct it (see https://toml.io)",
        ),
        ("a = " + "9" * 5000, "syntax: not TOML: a number or date is out of range; correct it"),
        ("a = " + "[" * 100_000, "syntax: nested too deeply; write it flatter"),
    ],
)
def test_a_syntax_error_is_told_with_its_place(text, mistake):
    with pytest.raises(ConfigError) as caught:
        read_text(text, "test.toml", {})
    assert [str(one) for one in caught.value.mistakes] == [mistake]


@settings(deadline=None)
@given(st.text(alphabet="abc=[]{}\"'\\#$\n .,:-01\x00é", max_size=60))
@example("a = 1979-99-99")
@example('a = "\\ud800"')
@example("a.b.c = 1\na.b = 2")
@example(".".join("a" * 500) + " = 1")
def test_any_text_is_read_or_refused_and_nothing_else(text):
    try:
        outcome = read_text(text, "test.toml", {})
    except ConfigError as error:
        outcome = error
        assert outcome.mistakes
    assert all(str(mistake).isprintable() for mistake in outcome.mistakes)


def test_the_default_is_read_from_the_package():
    assert default_text().startswith("# The configuration of statusd")
