"""What an answer means that is not the wanted one, each with its remedy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from statusd.client.address import Address
from statusd.client.exchange import Head
from statusd.client.faults import ClientError, not_statusd, said
from statusd.client.quality import http_date
from statusd.wording import span

_TOKEN = "set $STATUSD_TOKEN, or name the file that holds it with --token-file"  # noqa: S105  # a sentence


def refusal(head: Head, body: bytes, address: Address, endpoint: str, path: str) -> ClientError:
    """Return what an answer other than the wanted one means.

    Args:
        head: its beginning.
        body: its body, or the first part of it.
        address: who answered.
        endpoint: what was asked, such as ``/state``.
        path: of the node that was asked for; ``""`` is the root.
    """
    problem = _problem(head, body)
    match head.status:
        case 404 if path and problem.get("reason") == "not_found":
            return ClientError(
                "no_such_node", f'The tree of {address} has no node "{said(path)}": look at {address}/state.'
            )
        case 401:
            return ClientError("unauthorized", f"{address} answered 401: it {_wanted(head, address)}.")
        case 403 | 407:
            return ClientError(
                "unauthorized",
                f"{address} answered {head.status}: put the credentials of the proxy before it into the URL.",
            )
        case 421:
            return ClientError(
                "misdirected",
                f'{address} does not answer to the name "{said(address.host)}": list it in [http] hosts of the daemon, '
                "or ask by its IP address.",
            )
        case status if 300 <= status < 400:
            target = said(head.headers.get("location", "")) or "an unnamed place"
            return ClientError("moved", f"{address} sends on to {target}: use that address instead.")
        case 429:
            return _busy("too_many_requests", head, address, " (too many requests)")
        case status if status >= 500:
            return _busy("unavailable", head, address, f": {_why(problem)}")
        case status if problem and status != 404:
            why = problem.get("detail") or problem.get("title") or "no reason given"
            return ClientError("rejected", f"{address} refused the request with {status}: {said(str(why))}")
        case status:
            return not_statusd(str(address), endpoint, status)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that ``Retry-After`` asks to wait (RFC 9110, section 10.2.3), or None when it says nothing.

    Args:
        headers: names in lower case.
        now: seconds since 1970, for an answer that does not say when it was given.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 16:
        return float(text)
    until, given = http_date(text), http_date(headers.get("date", ""))
    return None if until is None else max(until - (now if given is None else given), 0.0)


def _busy(reason: str, head: Head, address: Address, why: str) -> ClientError:
    wait = retry_after(head.headers, time.time())
    when = "later" if wait is None else f"in {span(wait)}"
    message = f"{address} answered {head.status}{why}; try again {when}."
    return ClientError(reason, message, retry_after=wait)


def _why(problem: Mapping[str, Any]) -> str:
    detail = problem.get("detail") or problem.get("title")
    return said(detail).rstrip(".") if isinstance(detail, str) else "it, or what it stands behind, is not up"


def _wanted(head: Head, address: Address) -> str:
    if address.token:
        return "refused the token; correct it, here or in [http] token of the daemon"
    if address.url.basic_authorization:
        return "refused the user and password in the address; correct them"
    if "bearer" in head.headers.get("www-authenticate", "").lower():
        return f"wants a token; {_TOKEN}"
    return f"wants credentials; put those of a proxy before it into the URL, and where it wants a token, {_TOKEN}"


def _problem(head: Head, body: bytes) -> Mapping[str, Any]:
    if head.media_type != "application/problem+json":
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}
