"""TLS over reloads: the certificate of now is used, one that cannot be is refused, and where there is none nothing is said."""

import trio

from tests.integration.reloads import reloading
from tests.web.edge.certificates import Files, issued, trusting


def listening(files, *, tls=True):
    """Return a configuration: plain for the test itself, the same port each time for the other."""
    scheme = "tls:" if tls else ""
    table = f'[http.tls]\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
    return f'[http]\nbind = ["127.0.0.1:0", "{scheme}unix:{files.directory}/s"]\n{table if tls else ""}'


async def names_at(files):
    """Return the names for which the daemon has a certificate."""
    stream = await trio.open_unix_socket(f"{files.directory}/s")
    context = trusting()
    context.check_hostname = False
    async with trio.SSLStream(stream, context, https_compatible=True) as secured:
        await secured.do_handshake()
        found = secured.getpeercert()
        return {value for _, value in found["subjectAltName"]}


async def test_a_renewed_certificate_is_used_once_the_reload_is_done(tmp_path):
    files = Files.write(tmp_path)
    async with reloading(tmp_path, listening(files), bind=None) as daemon:
        assert await names_at(files) == {"localhost"}
        files.put(issued("renewed.example"))
        assert (await daemon.reload(listening(files))).ok
        assert await names_at(files) == {"renewed.example"}
        assert (await daemon.client.node("daemon/tls"))["facts"]["names"] == ["renewed.example"]


async def test_a_certificate_that_cannot_be_used_any_more_fails_the_reload(tmp_path):
    files = Files.write(tmp_path)
    async with reloading(tmp_path, listening(files), bind=None) as daemon:
        files.put_certificate(issued("another.example"))
        outcome = await daemon.reload(listening(files))
        assert (outcome.ok, outcome.code) == (False, 1)
        assert "is not the key of the first certificate" in outcome.messages[0]
        assert await names_at(files) == {"localhost"}


async def test_without_tls_nothing_is_said_of_it_and_with_it_again_it_is(tmp_path):
    files = Files.write(tmp_path)
    async with reloading(tmp_path, listening(files), bind=None) as daemon:
        for _ in range(2):
            assert (await daemon.client.node("daemon/tls"))["status"] == "ok"
            assert (await daemon.reload(listening(files, tls=False))).ok
            assert (await daemon.client.node("daemon/tls"))["reason"] == "no such node"
            assert (await daemon.reload(listening(files))).ok
            assert await names_at(files) == {"localhost"}
