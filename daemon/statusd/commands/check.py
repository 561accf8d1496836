"""`statusd check`: every mistake in a configuration, and every fault of its surroundings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sized
from typing import Any, Final

import attrs
import trio

from statusd.building import build, faults_of
from statusd.config.load import read
from statusd.config.mistakes import ConfigError, Mistake
from statusd.errors import ProbeError, StartError
from statusd.listening import load_certificates
from statusd.net.names import Resolver
from statusd.net.tls import client_context
from statusd.planning import Plan, plan
from statusd.plugin.contracts import Source
from statusd.redaction import Redactor
from statusd.values import Url
from statusd.web.edge.certificates import CERTIFICATE, OUT_OF_TIME, CertificateError

LOOKUP: Final = 5.0
"""Seconds for all host names together, and for a file of certificate authorities."""


@attrs.define(kw_only=True)
class Findings:
    """What `check` found.

    Attributes:
        origin: the file, or what else the configuration came from.
        mistakes: in the configuration; the daemon would not start.
        faults: of the surroundings; the daemon would show them.
        starts: whether the daemon would start.
        summary: what the configuration holds.
    """

    origin: str
    mistakes: list[Mistake] = attrs.field(factory=list)
    faults: list[Mistake] = attrs.field(factory=list)
    starts: bool = True
    summary: str = ""

    @property
    def exit_code(self) -> int:
        """78 for mistakes, 1 for faults, else 0."""
        return os.EX_CONFIG if self.mistakes else 1 if self.faults else 0

    def as_json(self) -> dict[str, Any]:
        """Return the findings as a JSON object."""
        return {
            "origin": self.origin,
            "ok": self.exit_code == 0,
            "mistakes": [{"path": one.path, "message": one.message} for one in self.mistakes],
            "faults": [{"path": one.path, "message": one.message} for one in self.faults],
            "summary": self.summary,
        }

    def as_text(self) -> str:
        """Return one line a finding."""
        lines = [f"{self.origin}: {one}" for one in self.mistakes]
        lines += [f"{self.origin}: {one}" for one in self.faults]
        count = len(self.mistakes) + len(self.faults)
        verdict = "ok" if not count else "starts, with faults around it" if self.starts else "does not start"
        found = self.summary if self.exit_code == 0 else f"{count} finding{'s' if count != 1 else ''}"
        return "\n".join([*lines, f"{self.origin}: {verdict} ({found})"])


def check(config: str | None, environ: Mapping[str, str], redactor: Redactor | None = None) -> Findings:
    """Hold a configuration against everything that can be known without probing.

    Args:
        config: the file, or None for what `run` would use.
        environ: the environment.
        redactor: learns the secrets.
    """
    findings = Findings(origin=config or "configuration")
    try:
        settings = read(config, environ)
        findings.origin = settings.origin
        trio.run(_examine, plan(settings, redactor=redactor), findings)
    except ConfigError as error:
        findings.origin = error.origin
        findings.mistakes.extend(error.mistakes)
        findings.starts = False
    except StartError as error:
        findings.faults.append(Mistake("plugins", str(error)))
        findings.starts = False
    return findings


async def _examine(planned: Plan, findings: Findings) -> None:
    daemon = build(planned)
    configuration = planned.configuration
    findings.faults += faults_of(planned, daemon.parts)
    known = {path for path, _ in configuration.faults}
    try:
        certificates = load_certificates(configuration.http)
        if certificates is not None and (report := certificates.report()).reason in OUT_OF_TIME:
            findings.faults.append(Mistake(CERTIFICATE, report.message))
    except CertificateError as error:
        if error.path not in known:  # a credential may be there for the unit alone
            findings.faults.append(Mistake(error.path, error.message))
            findings.starts = False
    sources = {
        f"sources.{built.config.name}": built.prober.source
        for built in daemon.parts.sources
        if built.prober is not None
    }
    urls = [(f"{path}.{key}", url) for path, source in sources.items() for key, url in urls_of(source)]
    findings.faults += await _unresolved(urls)
    for path, source in sources.items():
        findings.faults += await _useless_authorities(path, source)
    findings.summary = f"{_count(configuration.sources, 'source')}, {_count(configuration.models, 'model')}"
    await daemon.net.aclose()


def _count(things: Sized, what: str) -> str:
    return f"{len(things)} {what}{'s' if len(things) != 1 else ''}"


async def _useless_authorities(path: str, source: Source) -> list[Mistake]:
    """Return a fault where the file of certificate authorities cannot be used."""
    ca_file = getattr(source, "ca_file", "")
    if not ca_file or not isinstance(ca_file, str):
        return []
    try:
        with trio.fail_after(LOOKUP):
            await client_context(ca_file)
    except ProbeError as error:
        return [Mistake(f"{path}.ca_file", error.message)]
    except trio.TooSlowError:
        return [Mistake(f"{path}.ca_file", f"{ca_file} was not read within {LOOKUP:g} s.")]
    return []


async def _unresolved(urls: list[tuple[str, Url]]) -> list[Mistake]:
    """Return a fault for each host name that does not resolve."""
    resolver = Resolver()
    faults: list[Mistake] = []

    async def look_up(path: str, url: Url) -> None:
        try:
            with trio.fail_after(LOOKUP):
                await resolver.resolve(url.host, url.port or 0)
        except ProbeError as error:
            faults.append(Mistake(path, error.message))
        except trio.TooSlowError:
            faults.append(Mistake(path, f"{url.host} was not resolved within {LOOKUP:g} s."))

    async with trio.open_nursery() as nursery:
        for path, url in urls:
            nursery.start_soon(look_up, path, url)
    return sorted(faults, key=lambda fault: fault.path)


def urls_of(source: Source) -> list[tuple[str, Url]]:
    """Return the keys of a source that hold a URL with a host name."""
    return [
        (field.name, value)
        for field in attrs.fields(type(source))
        if isinstance(value := getattr(source, field.name), Url) and value.host
    ]
