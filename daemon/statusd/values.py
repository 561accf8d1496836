"""Values that configuration and probe clients share: secrets that do not show, URLs that hide their userinfo."""

from __future__ import annotations

import base64
import ipaddress
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import attrs

MASK: Final = "***"
_TLS: Final = "tls:"
"""What stands before an address where TLS is spoken."""
_URLS: Final = {
    "http://": 'the address alone, as in "127.0.0.1:8000"',
    "https://": 'the address with "tls:" before it, as in "tls:127.0.0.1:8443"',
}
"""What people write instead of an address, and what they mean."""


@attrs.frozen(repr=False)
class Secret:
    """A value that shows as ``***`` wherever it is printed; `reveal` gives it to the wire, and to nobody else."""

    _value: str = ""

    def reveal(self) -> str:
        """Return the secret itself, for sending to the upstream it belongs to."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Secret({MASK!r})" if self._value else "Secret('')"

    def __str__(self) -> str:
        return MASK if self._value else ""


@attrs.frozen(repr=False)
class Url:
    """A URL in parts, whose text form shows its userinfo as ``***``.

    Attributes:
        scheme: in lower case, without ``:``.
        host: without the brackets of an IPv6 literal, in lower case.
        port: as written, or None.
        path: percent-encoded as written; ``""`` when absent.
        query: without the ``?``.
        username: percent-decoded.
        password: percent-decoded.
    """

    scheme: str = ""
    host: str = ""
    port: int | None = None
    path: str = ""
    query: str = ""
    username: Secret = Secret()
    password: Secret = Secret()

    @classmethod
    def parse(cls, text: str) -> Url:
        """Split `text` into a URL (RFC 3986); the empty string gives the empty, false URL.

        Raises:
            ValueError: with what is wrong; never with the text itself, which may hold a password.
        """
        text = text.strip()
        if not text:
            return cls()
        if any(ord(char) <= 0x20 or ord(char) == 0x7F for char in text):
            raise ValueError("must not contain spaces or control characters")
        try:
            parts = urlsplit(text)
        except ValueError:
            # urlsplit quotes its input, which may hold a password, so its own message is not chained.
            raise ValueError("is not a URL: its brackets do not match an IPv6 address") from None
        if not parts.scheme or "://" not in text:
            raise ValueError('is not a URL: it must begin with a scheme, such as "http://"')
        try:
            port = parts.port
        except ValueError:
            raise ValueError("has a port that is not a number from 1 to 65535") from None
        if port == 0:
            raise ValueError("has a port that is not a number from 1 to 65535")
        return cls(
            scheme=parts.scheme.lower(),
            host=parts.hostname or "",
            port=port,
            path=parts.path,
            query=parts.query,
            username=Secret(unquote(parts.username or "")),
            password=Secret(unquote(parts.password or "")),
        )

    def __bool__(self) -> bool:
        return bool(self.scheme)

    def with_path(self, path: str, query: str = "") -> Url:
        """Return this URL with `path` appended to its own path, exactly one slash between them."""
        joined = self.path.rstrip("/") + "/" + path.lstrip("/") if path else self.path
        return attrs.evolve(self, path=joined, query=query)

    def with_scheme(self, scheme: str) -> Url:
        """Return this URL with another scheme."""
        return attrs.evolve(self, scheme=scheme)

    @property
    def authority(self) -> str:
        """Host and port as the ``Host`` header wants them (RFC 9110, section 7.2), without userinfo."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def bare(self) -> Url:
        """The URL without userinfo and query, for messages."""
        return attrs.evolve(self, username=Secret(), password=Secret(), query="")

    @property
    def target(self) -> str:
        """Path and query as the request line wants them (RFC 9112, section 3.2.1)."""
        return (self.path or "/") + (f"?{self.query}" if self.query else "")

    @property
    def basic_authorization(self) -> Secret:
        """The ``Authorization`` header value for the userinfo (RFC 7617); empty when there is none."""
        if not self.username and not self.password:
            return Secret()
        pair = f"{self.username.reveal()}:{self.password.reveal()}"
        return Secret("Basic " + base64.b64encode(pair.encode()).decode())

    def secrets(self) -> tuple[str, ...]:
        """Every text form of the userinfo's secrets, for the redactor."""
        password = self.password.reveal()
        forms = [password, quote(password, safe="")] if password else []
        if basic := self.basic_authorization.reveal():
            forms.append(basic.removeprefix("Basic "))
        return tuple(dict.fromkeys(forms))

    def __str__(self) -> str:
        if not self.scheme:
            return ""
        userinfo = f"{MASK}@" if self.username or self.password else ""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{userinfo}{self.authority}{self.path}{query}"

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"


@attrs.frozen(kw_only=True)
class Bind:
    """An address to listen on: exactly one of TCP (`host`, `port`), Unix socket (`path`) or inherited `fd`.

    Attributes:
        host: an IP address; ``""`` when another kind.
        port: 0 to 65535; 0 lets the system choose.
        path: of a Unix socket, or ``""``.
        fd: an inherited file descriptor that listens already, or None.
        is_tls: whether clients must speak TLS there.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    fd: int | None = None
    is_tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Read ``127.0.0.1:8000``, ``[::1]:8000``, ``unix:/run/x.sock`` or ``fd://3``, each perhaps after ``tls:``.

        Raises:
            ValueError: with what is expected.
        """
        for scheme, expected in _URLS.items():
            if text.startswith(scheme):
                raise ValueError(f"is a URL; expected {expected}")
        if text.startswith(_TLS):
            return attrs.evolve(cls._parse_plain(text.removeprefix(_TLS)), is_tls=True)
        return cls._parse_plain(text)

    @classmethod
    def _parse_plain(cls, text: str) -> Bind:
        expected = 'expected "127.0.0.1:8000", "[::1]:8000", "unix:/run/statusd/http.sock" or "fd://3"'
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path.startswith("/") or "\0" in path:
                raise ValueError(f"has no absolute path after unix:; {expected}")
            return cls(path=path)
        if text.startswith("fd://"):
            number = text.removeprefix("fd://")
            if not number.isascii() or not number.isdigit():
                raise ValueError(f"has no number after fd://; {expected}")
            return cls(fd=int(number))
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"has no port from 0 to 65535; {expected}")
        is_bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = ipaddress.ip_address(host[1:-1] if is_bracketed else host or "0.0.0.0")  # noqa: S104  # ":8000" means every address, as in other servers
        except ValueError:
            if host == "localhost":
                return cls(host="127.0.0.1", port=int(port))
            raise ValueError(f"has no IP address before the port; {expected}") from None
        if (address.version == 6) is not is_bracketed:
            raise ValueError(f"has an IPv6 address without brackets, or IPv4 with them; {expected}")
        return cls(host=str(address), port=int(port))

    @property
    def plain(self) -> Bind:
        """The same address without regard to TLS."""
        return attrs.evolve(self, is_tls=False)

    def __str__(self) -> str:
        return f"{_TLS if self.is_tls else ''}{self._plain_text()}"

    def _plain_text(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if self.fd is not None:
            return f"fd://{self.fd}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
