"""Configurations at random for a daemon that reloads them: good ones, which differ in all that may, and bad ones."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import attrs

from processes import HOST

LASTING: Final = ("stable", "slow", "inference", "queue")
"""Sources that are in every file, with the same options."""
THRESHOLD: Final = 25
"""Probes in a row after which `slow` changes its status."""
SLOW_INTERVAL: Final = 0.1
"""Seconds between two of its probes."""
TIMEOUT: Final = "timeout = 10\n"
"""Of lasting sources: on a busy machine none of them is to fail, and connect anew."""
VIEWS: Final = '[views.status]\nsource = "inference"\n[views.queue]\nsource = "queue"\n'
"""The lasting sources are what `/status` and `/queue/status` show."""
EXTRAS: Final = 12
"""Sources that a file has besides, at most."""
FAULT: Final = 1
MISTAKE: Final = os.EX_CONFIG


@attrs.frozen(kw_only=True)
class Surroundings:
    """What configurations speak of.

    Attributes:
        port: of loopback, where all is served in every file.
        more: ports of loopback where it is served in some files.
        taken: a port of loopback that somebody else listens on.
        directory: for Unix sockets and secrets.
        urls: name of an upstream -> its URL: ``stable``, ``slow``, ``inference``, ``queue`` (or none), ``one``, ``two``, ``hung``.
    """

    port: int
    more: tuple[int, ...]
    taken: int
    directory: Path
    urls: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Configuration:
    """A configuration, and what should become of its reload.

    Attributes:
        kind: what is special about it.
        text: the file; None: there is none.
        code: of the outcome.
        binds: addresses as in ``[http] bind``, if it is good.
    """

    kind: str
    text: bytes | None
    code: int = 0
    binds: tuple[str, ...] = ()


def plain(around: Surroundings) -> Configuration:
    """Return the configuration that is compared before and after: the lasting sources, and nothing by chance."""
    binds = (f"{HOST}:{around.port}",)
    text = (
        f"[http]\nbind = {json.dumps(binds)}\n"
        + "".join((VIEWS, *_lasting(around).values()))
        + '[models]\nfixed = "stable"\n'
    )
    return Configuration(kind="plain", text=text.encode(), binds=binds)


def good(chance: random.Random, around: Surroundings) -> Configuration:
    """Return a configuration that can be used."""
    more = [f"{HOST}:{port}" for port in around.more] + [
        f"unix:{around.directory}/{name}.sock" for name in "ab"
    ]
    binds = [f"{HOST}:{around.port}", *(bind for bind in more if chance.random() < 0.3)]
    chance.shuffle(binds)
    extras = chance.sample(range(EXTRAS), chance.randrange(EXTRAS + 1))
    tables = [*_lasting(around, chance).values(), *(_extra(chance, number, around) for number in extras)]
    chance.shuffle(tables)
    names = ["stable", *(f"extra{number}" for number in extras)]
    text = "".join(
        (_http(chance, binds, around), VIEWS, *tables, _models(chance, names), _rules(chance, names))
    )
    return Configuration(kind="good", text=text.encode(), binds=tuple(binds))


def bad(chance: random.Random, around: Surroundings) -> Configuration:
    """Return a configuration that cannot be used."""
    name, spoil = chance.choice(list(SPOILERS.items()))
    text = good(chance, around).text
    assert text is not None
    code = FAULT if name in FAULTS else MISTAKE
    return Configuration(kind=name, text=spoil(text, around), code=code)


def _lasting(around: Surroundings, chance: random.Random | None = None) -> dict[str, str]:
    """Return the tables of the lasting sources; by chance their pace and what they mean for others is another one."""

    def keys() -> str:
        if chance is None:
            return TIMEOUT + "interval = 0.5\n"
        return TIMEOUT + (
            f"interval = {chance.choice((0.2, 0.3, 0.5))}\nrequired = {chance.choice(('true', 'false'))}\n"
            f"ttl = {chance.choice((8, 12))}\n"
        )

    tables = {
        "stable": f'plugin = "http"\nurl = "{around.urls["stable"]}"\n' + keys(),
        "slow": f'plugin = "http"\nurl = "{around.urls["slow"]}"\ninterval = {SLOW_INTERVAL}\nrequired = false\n{TIMEOUT}'
        f"fall = {THRESHOLD}\nrise = {THRESHOLD}\n",
        "inference": f'plugin = "takeoff"\nurl = "{around.urls["inference"]}"\n' + keys(),
        "queue": f'plugin = "redis_queue"\nurl = "{around.urls["queue"]}"\n' + keys(),
    }
    return {name: f"[sources.{name}]\n{table}" for name, table in tables.items()}


def _extra(chance: random.Random, number: int, around: Surroundings) -> str:
    url = around.urls[chance.choice(("one", "one", "two", "two", "hung"))]
    secret = chance.choice(
        ('env = "NOT_SET"', f'file = "{around.directory}/no-such-secret"', 'credential = "none"')
    )
    options = chance.choice(
        (
            f'plugin = "mock"\nstatus = "{chance.choice(("ok", "degraded", "down", "off"))}"\n',
            f'plugin = "mock"\nmessage = "{chance.randrange(100)}"\n',
            f'plugin = "http"\nurl = "{url}"\nmodels_path = ""\n',
            f'plugin = "http"\nurl = "{url}"\nexpect_status = [{chance.choice((200, 204, 503))}]\n',
            f'plugin = "http"\nurl = "{url}"\napi_key = {{ {secret} }}\n',
            f'plugin = "takeoff"\nurl = "{url}"\n',
            f'plugin = "omnirt"\nendpoint = "{url}"\napi_key = {{ {secret} }}\n',
            f'plugin = "direct_ws"\nurl = "{url.replace("http", "ws")}"\n',
            f'plugin = "redis_queue"\nurl = "redis://{HOST}:{around.taken}/{number}"\n',
            'plugin = "no_such_plugin"\n',  # which is shown, and costs the others nothing
            f'plugin = "local"\nfiles = ["{around.directory}/{chance.randrange(3)}"]\n',
        )
    )
    common = (
        f"interval = {chance.choice((0.2, 0.5, 1, 5))}\ntimeout = {chance.choice((0.2, 0.5))}\n"
        f"fall = {chance.choice((1, 3))}\nrequired = {chance.choice(('true', 'false'))}\n"
    )
    depends = 'depends_on = ["stable"]\n' if chance.random() < 0.2 else ""
    return f"[sources.extra{number}]\n{options}{common}{depends}"


def _http(chance: random.Random, binds: list[str], around: Surroundings) -> str:
    main = f"{HOST}:{around.port}"
    probes = [bind for bind in binds if bind != main and chance.random() < 0.3]
    keys = {
        "bind": [bind for bind in binds if bind not in probes],
        "bind_probes": probes,
        "refresh_floor": chance.choice((0.5, 1)),
        "front_stage": chance.random() < 0.8,
        "access_log": chance.choice((0, 0, 0.001)),
        "hosts": [f"{chance.choice('abc')}.example.org"],
        "socket_mode": 0o660,
    }
    limits = {
        "connections": chance.choice((400, 450, 500)),
        "streams": chance.choice((100, 120)),
        "waiting": chance.choice((60, 80)),
        "requests": chance.choice((500, 100_000)),
        "header_bytes": chance.choice((4096, 16384)),
        "idle_timeout": chance.choice((10, 15)),
        "send_timeout": chance.choice((5, 6)),
    }
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in keys.items()]
    bounds = [f"{key} = {json.dumps(value)}\n" for key, value in limits.items() if chance.random() < 0.5]
    return "".join(("[http]\n", *lines, "[http.limits]\n", *bounds))


def _models(chance: random.Random, names: list[str]) -> str:
    models = [
        f'"model{number}" = {json.dumps(chance.sample(names, min(2, len(names))))}\n'
        for number in range(chance.randrange(6))
    ]
    return "".join(('[models]\nfixed = "stable"\n', *models))


def _rules(chance: random.Random, names: list[str]) -> str:
    require = chance.sample([f"sources/{name}" for name in names], chance.randrange(2))
    rules = [f'"sources" = "{chance.choice(("worst", "best", "at_least(1)"))}"\n']
    if chance.random() < 0.5:
        rules.append(f'"/" = "{chance.choice(("worst", "best"))}"\n')
    return "".join((f"[ready]\nrequire = {json.dumps(require)}\n", "[rollup]\n", *rules))


SPOILERS: Final[Mapping[str, Callable[[bytes, Surroundings], bytes | None]]] = {
    "syntax": lambda text, _: text + b"[sources.broken\n",
    "cut short": lambda text, _: text[: len(text) // 2] + b'"""',
    "no text": lambda text, _: text + b"\xff\xfe",
    "unknown key": lambda text, _: text.replace(b"[sources.stable]\n", b"[sources.stable]\nintervall = 3\n"),
    "unknown table": lambda text, _: text + b"[nonsense]\n",
    "wrong type": lambda text, _: text.replace(b"refresh_floor = ", b"refresh_floor = [] # "),
    "unknown source": lambda text, _: text.replace(b'fixed = "stable"', b'fixed = "no-such-source"'),
    "unknown path": lambda text, _: text.replace(b"require = [", b'require = ["models/no-such-model", '),
    "several": lambda text, _: text.replace(b"ttl = ", b"ttl = -") + b"[nonsense]\n",
    "no file": lambda _text, _: None,
    "port in use": lambda text, around: text.replace(
        b"bind = [", f'bind = ["{HOST}:{around.taken}", '.encode(), 1
    ),
    "no directory": lambda text, around: text.replace(
        b"bind = [", f'bind = ["unix:{around.directory}/no/such.sock", '.encode(), 1
    ),
    "no certificate": lambda text, around: (
        text.replace(b"bind = [", f'bind = ["tls:{HOST}:{around.more[0] + 1}", '.encode(), 1)
        + f'[http.tls]\ncertificate = "{around.directory}/none.pem"\nkey = "{around.directory}/none.key"\n'.encode()
    ),
}
"""What spoils a good configuration."""
FAULTS: Final = frozenset({"port in use", "no directory", "no certificate"})
"""Those that are no mistake of the file alone."""
