"""The certificate: what cannot be used, in words; and its reload, under a clock that jumps."""

import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trustme
from cryptography.hazmat.primitives import serialization

from statusd.errors import StartError
from statusd.model.reasons import REASONS
from statusd.web.edge import certificates
from statusd.web.edge.certificates import LOOK, NAMES, TRIES, CertificateError, Certificates
from tests.web.edge.certificates import DAY, Files, issued, replace

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def files(tmp_path):
    return Files.write(tmp_path)


def load(files, **options):
    return Certificates(files.certificate, files.key, **options)


def refusal(certificate, key):
    """Return the key that is blamed and what is said; never more of the files than their paths."""
    with pytest.raises(StartError) as caught:
        Certificates(str(certificate), str(key))
    error = caught.value
    assert isinstance(error, CertificateError)
    assert str(error) == f"{error.path}: {error.message}"
    assert ";" in error.message  # what is wrong; the remedy
    return error.path.rpartition(".")[2], error.message


def test_a_sound_pair_is_shown_with_its_names_and_its_end(tmp_path):
    files = Files.write(tmp_path, "status.example.org", "192.0.2.7", not_after=NOW + 90 * DAY)
    report = load(files).report()
    assert (report.status, report.reason) == ("ok", "ok")
    assert set(report.facts["names"]) == {"status.example.org", "192.0.2.7"}
    assert report.facts["not_after"] == f"{NOW + 90 * DAY:%Y-%m-%dT%H:%M:%S}.000Z"


def test_of_many_names_some_are_shown(tmp_path):
    files = Files.write(tmp_path, *(f"n{index}.example.org" for index in range(200)))
    assert len(load(files).report().facts["names"]) == NAMES


def test_tls_from_1_2_on_with_forward_secrecy_and_nothing_that_leaks(files):
    context = load(files).context
    assert context.minimum_version == certificates.ssl.TLSVersion.TLSv1_2
    assert context.options & certificates.ssl.OP_NO_COMPRESSION
    assert context.options & certificates.ssl.OP_NO_RENEGOTIATION
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["protocol"] == "TLSv1.3" or cipher["kea"] == "kx-ecdhe", cipher["name"]


def test_a_credential_that_is_not_there_is_for_the_unit_to_hand_over(files):
    path = "/run/credentials/statusd.service/no-such-certificate"
    assert refusal(path, files.key) == (
        "certificate",
        f"{path} does not exist; hand it over with LoadCredential=",
    )


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_a_file_that_is_not_there(files, name):
    Path(getattr(files, name)).unlink()
    blamed, message = refusal(files.certificate, files.key)
    assert blamed == name
    assert message == f"{getattr(files, name)} does not exist; put it there, or correct the path"


@pytest.mark.parametrize("name", ["certificate", "key"])
@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_what_is_no_plain_file_is_not_waited_for(files, name, kind):
    path = Path(getattr(files, name))
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    blamed, message = refusal(files.certificate, files.key)
    assert blamed == name
    assert message.startswith(f"{path} ")


def test_a_file_that_may_not_be_read(files, monkeypatch):
    def refuse(path, _flags):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(certificates, "_open_at_once", refuse)
    blamed, message = refusal(files.certificate, files.key)
    assert blamed == "certificate"
    assert "may not be read by statusd; let its user or group read it" in message


def test_files_that_were_interchanged(files):
    assert refusal(files.key, files.certificate) == (
        "certificate",
        f'{files.key} holds no certificate in PEM form; name a file with a line that begins with "-----BEGIN"',
    )
    blamed, message = refusal(files.certificate, files.certificate)
    assert (blamed, message.partition(";")[0]) == (
        "key",
        f"{files.certificate} holds no private key in PEM form",
    )


def test_both_in_one_file_are_taken(files, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(issued().private_key_and_cert_chain_pem.bytes())
    assert Certificates(str(both), str(both)).report().reason == "ok"


def test_a_key_of_another_certificate(files):
    files.put_key(issued())
    blamed, message = refusal(files.certificate, files.key)
    assert blamed == "key"
    assert message.startswith(f"{files.key} is not the key of the first certificate in {files.certificate};")


def test_a_key_of_another_kind_is_one_of_another_certificate(files):
    files.put_key(issued(key_type=trustme.KeyType.RSA))
    assert refusal(files.certificate, files.key)[0] == "key"


def encrypted(leaf, passphrase=b"open-sesame"):
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )


def test_an_encrypted_key_asks_nobody_for_its_passphrase(files, tmp_path):
    leaf = issued()
    files.put_certificate(leaf)
    (tmp_path / "key.pem").write_bytes(encrypted(leaf))
    blamed, message = refusal(files.certificate, files.key)
    assert blamed == "key"
    assert "is encrypted, and nobody is there to enter its passphrase; " in message
    # OpenSSL itself would ask on the terminal, past stdin.
    code = "import sys\nfrom statusd.web.edge.certificates import *\nCertificates(*sys.argv[1:])"
    ended = subprocess.run(
        [sys.executable, "-c", code, files.certificate, files.key],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        start_new_session=True,
        check=False,
    )
    assert b"is encrypted" in ended.stderr
    assert b"PEM pass phrase" not in ended.stderr + ended.stdout


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_damaged_files_are_told_without_their_content(files, name):
    path = Path(getattr(files, name))
    lines = path.read_bytes().splitlines(keepends=True)
    replace(path, b"".join([lines[0], b"!!!" + lines[1], *lines[2:]]))
    _, message = refusal(files.certificate, files.key)
    assert "are damaged" in message
    assert not any(line.strip().decode() in message for line in lines)


def test_a_weak_key_is_told(files, monkeypatch):
    def refuse(*_):
        error = certificates.ssl.SSLError(1, "[SSL: EE_KEY_TOO_SMALL] ee key too small")
        error.reason = "EE_KEY_TOO_SMALL"
        raise error

    monkeypatch.setattr(certificates, "_context", refuse)
    blamed, message = refusal(files.certificate, files.key)
    assert blamed == "certificate"
    assert "too weak for the OpenSSL of this host (EE_KEY_TOO_SMALL); have one issued" in message


def test_files_that_go_while_they_are_read_are_told(files, monkeypatch):
    def refuse(*_):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(certificates, "_context", refuse)
    assert "cannot be read any more: No such file or directory; " in refusal(files.certificate, files.key)[1]


def test_a_certificate_that_openssl_alone_understands_is_used(files, monkeypatch):
    monkeypatch.setattr(certificates, "about", lambda _: None)
    report = load(files).report()
    assert (report.status, report.facts) == ("ok", {})


@pytest.mark.parametrize(
    ("life", "passed", "reason"),
    [
        ((-10, 90), 0, "ok"),
        ((-10, 90), 82, "ok"),
        ((-10, 90), 84, "certificate_expires_soon"),
        ((-10, 90), 90, "certificate_expired"),
        ((1, 90), 0, "certificate_not_yet_valid"),
        ((1, 90), 1, "ok"),
        # Some are valid for six days, or one, and renewed in time: a week before their end they are not yet born.
        ((0, 6), 5, "ok"),
        ((0, 6), 5.5, "certificate_expires_soon"),
        ((0, 1), 0.5, "ok"),
    ],
)
def test_its_time_is_told(tmp_path, life, passed, reason):
    begins, ends = (NOW + days * DAY for days in life)
    files = Files.write(tmp_path, not_before=begins, not_after=ends)
    now = (NOW + passed * DAY).timestamp() + 1
    report = load(files, now=lambda: now).report()
    assert report.reason == reason
    assert reason in REASONS
    assert (report.status == "ok") is (reason == "ok")
    assert "not_after" in report.facts
    assert report.message == "" or re.search(r"\d{4}-\d\d-\d\dT", report.message)


# Its reload


class Watched:
    """A watch over files, on a clock that jumps, with threads that take no time of it."""

    def __init__(self, files, **options):
        self.files = files
        self.certificates = load(files, **options)
        self.said = []

    async def say(self, report):
        self.said.append((report.status.value, report.reason))

    @property
    def name(self):
        """The name in the certificate that a handshake would begin with now."""
        return self.certificates.report().facts["names"][0]

    async def looks(self, count=1):
        await trio.sleep(LOOK * count)


@pytest.fixture
def at_once(autojump_clock, monkeypatch):
    """Without threads, whose work the jumping clock would not wait for."""

    async def run_sync(work, *arguments, **_):
        return work(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


@pytest.fixture
async def watched(files, nursery, at_once, autojump_clock):
    found = Watched(files)
    await nursery.start(found.certificates.watch, found.say)
    await trio.sleep(LOOK / 2)  # between two looks
    return found


OK = ("ok", "ok")
UNUSABLE = ("degraded", "certificate_unusable")


async def test_it_is_said_once_while_nothing_changes(watched, autojump_clock):
    context = watched.certificates.context
    await watched.looks(1000)
    assert watched.said == [OK]
    assert watched.certificates.context is context


async def test_a_new_pair_is_taken_at_the_next_look(watched, caplog, autojump_clock):
    caplog.set_level("INFO")
    watched.files.put(issued("renewed.example.org"))
    await watched.looks()
    assert watched.name == "renewed.example.org"
    assert {status for status, _ in watched.said} == {"ok"}
    assert caplog.text.count("The certificate was loaded anew from ") == 1


async def test_two_files_that_are_replaced_one_after_the_other_do_not_flap(watched, caplog, autojump_clock):
    new = issued("renewed.example.org")
    for _ in range(20):
        watched.files.put_certificate(new)
        await watched.looks(TRIES - 1)
        assert watched.name == "localhost"
        watched.files.put_key(new)
        await watched.looks()
        assert watched.name == "renewed.example.org"
        old = issued()
        watched.files.put_key(old)
        await watched.looks(TRIES - 1)
        watched.files.put_certificate(old)
        await watched.looks()
        assert watched.name == "localhost"
    assert {status for status, _ in watched.said} == {"ok"}
    assert not [record for record in caplog.records if record.levelname != "INFO"]


@pytest.mark.parametrize("damage", ["mismatched", "missing", "empty"])
async def test_a_bad_new_pair_keeps_the_old_one_and_is_said_once(watched, damage, autojump_clock):
    context = watched.certificates.context
    if damage == "mismatched":
        watched.files.put_key(issued())
    elif damage == "missing":
        (watched.files.directory / "key.pem").unlink()
    else:
        replace(watched.files.directory / "cert.pem", b"")
    await watched.looks(100)
    assert watched.said == [OK, UNUSABLE]
    assert watched.certificates.context is context
    message = watched.certificates.report().message
    assert message.startswith("http.tls.")
    assert re.search(r"\. The one loaded before stays in use, until \S+Z at most\.$", message)
    assert watched.name == "localhost"
    watched.files.put(issued("mended.example.org"))
    await watched.looks()
    assert watched.name == "mended.example.org"
    assert watched.said == [OK, UNUSABLE, OK]


async def test_files_that_are_put_back_are_well_again(watched, autojump_clock):
    path = watched.files.directory / "key.pem"
    path.rename(path.with_suffix(".away"))
    await watched.looks(TRIES)
    path.with_suffix(".away").rename(path)
    await watched.looks()
    assert watched.said == [OK, UNUSABLE, OK]


async def test_a_file_that_is_written_in_place_with_the_same_size_is_noticed(watched, autojump_clock):
    new = issued("loca1host")
    for path, pem in (("cert.pem", new.cert_chain_pems[0]), ("key.pem", new.private_key_pem)):
        (watched.files.directory / path).write_bytes(pem.bytes())
    await watched.looks()
    assert watched.name == "loca1host"


async def test_a_symbolic_link_to_another_file_is_noticed(tmp_path, nursery, at_once, autojump_clock):
    """As certbot has it: live/NAME/fullchain.pem leads to archive/NAME/fullchain7.pem."""

    versions = [tmp_path / "1", tmp_path / "2"]
    for version in versions:
        version.mkdir()
        Files.write(version, f"v{version.name}.example.org")
    live = tmp_path / "live"
    live.symlink_to(versions[0])
    watched = Watched(Files(live))
    await nursery.start(watched.certificates.watch, watched.say)
    assert watched.name == "v1.example.org"
    live.unlink()
    live.symlink_to(versions[1])
    await watched.looks(1.5)
    assert watched.name == "v2.example.org"


async def test_its_end_is_said_when_it_comes(files, nursery, at_once, caplog, autojump_clock):
    files.put(issued(not_before=NOW, not_after=NOW + dt.timedelta(hours=1)))
    began = trio.current_time()
    watched = Watched(files, now=lambda: NOW.timestamp() + trio.current_time() - began)
    await nursery.start(watched.certificates.watch, watched.say)
    await trio.sleep(4000)
    assert [reason for _, reason in watched.said] == [
        "ok",
        "certificate_expires_soon",
        "certificate_expired",
    ]
    # The tree stays degraded, so its log of transitions has no line for that.
    [told] = [record for record in caplog.records if record.name == "statusd.web"]
    assert told.levelname == "WARNING"
    assert told.getMessage().startswith("daemon/tls: still degraded (certificate_expired): It expired at ")


async def test_the_end_of_one_whose_files_cannot_be_used_is_said_with_both_causes(
    files, nursery, at_once, autojump_clock
):
    files.put(issued(not_before=NOW, not_after=NOW + dt.timedelta(hours=1)))
    began = trio.current_time()
    watched = Watched(files, now=lambda: NOW.timestamp() + trio.current_time() - began)
    await nursery.start(watched.certificates.watch, watched.say)
    (files.directory / "key.pem").unlink()
    await trio.sleep(4000)
    assert watched.said == [OK, UNUSABLE, ("degraded", "certificate_expired")]
    message = watched.certificates.report().message
    assert message.startswith("It expired at ")
    assert " What its files hold now cannot be used: http.tls.key: " in message


async def test_files_that_hang_keep_nobody_from_stopping(files, monkeypatch):
    """On a network that is away; the thread is left behind."""
    read, write = os.pipe()
    watched = Watched(files)
    monkeypatch.setattr(certificates, "LOOK", 0.001)
    is_hanging = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def hang(*_):
        token.run_sync_soon(is_hanging.set)
        os.read(read, 1)

    monkeypatch.setattr(certificates, "_files", hang)
    with trio.fail_after(5):
        async with trio.open_nursery() as inner:
            await inner.start(watched.certificates.watch, watched.say)
            await is_hanging.wait()
            inner.cancel_scope.cancel()
    os.close(write)
