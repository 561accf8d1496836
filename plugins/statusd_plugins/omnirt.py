"""OmniRT: asks an inference server which of its models are connected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from statusd import (
    Json,
    ProbeError,
    Report,
    Secret,
    SourceRegistry,
    Url,
    expect_success,
    hookimpl,
    option,
    parse_object,
    schemes,
)
from statusd_plugins.common_keys import plain_path
from statusd_plugins.over_http import OverHttp
from statusd_plugins.upstream_text import bounded, printable

MODELS_PATH: Final = "/v1/audio2video/models"
LEGACY_MODELS_PATH: Final = "/v1/avatar/models"
LEGACY_MODEL: Final = "flashtalk"
HTTP: Final = {"ws": "http", "wss": "https"}
MAX_LISTED: Final = 5_000
"""Entries of a list that are read: no server has so many models, and reading them holds up everybody else."""


@attrs.frozen(kw_only=True)
class Listing:
    """What the server lists; ids stripped and in lower case.

    Attributes:
        connected: the ids it lists as connected.
        reasons: the ids it lists as not connected -> its own word for why, or ``""``.
    """

    connected: frozenset[str] = frozenset()
    reasons: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def ids(self) -> frozenset[str]:
        """Every id that the server mentions."""
        return self.connected | self.reasons.keys()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Listing:
        """Read the answer of either path: a list ``models`` wins over what ``statuses`` calls connected.

        Only ``true`` itself is connected: another value would have to be guessed at.

        Raises:
            ProbeError: ``unexpected_answer`` without any list; ``too_large`` when one is longer than `MAX_LISTED`.
        """
        models, statuses = document.get("models"), document.get("statuses")
        if not isinstance(models, list) and not isinstance(statuses, list):
            raise ProbeError(
                "unexpected_answer",
                "The answer is a JSON object without a list of models: another kind of server listens there.",
            )
        if any(isinstance(listed, list) and len(listed) > MAX_LISTED for listed in (models, statuses)):
            raise ProbeError("too_large", f"The server lists more than {MAX_LISTED} models.")
        entries = (
            [entry for entry in statuses if isinstance(entry, dict)] if isinstance(statuses, list) else []
        )
        if isinstance(models, list):
            connected = {_id(item) for item in models}
        else:
            connected = {_id(entry.get("id")) for entry in entries if entry.get("connected") is True}
        reasons: dict[str, str] = {}
        for entry in entries:
            model = _id(entry.get("id"))
            if model and model not in connected:
                word = entry.get("reason")
                reasons.setdefault(model, printable(word.strip()) if isinstance(word, str) else "")
        return cls(connected=frozenset(connected - {""}), reasons=reasons)


@attrs.frozen(kw_only=True)
class OmniRtSource(OverHttp):
    """An OmniRT server's list of models; without an endpoint, the legacy WebSocket of FlashTalk."""

    endpoint: Url = option(
        Url(),
        validator=schemes("http", "https", "ws", "wss"),
        help='Address of the server, such as "http://127.0.0.1:9000", its path a prefix; empty = not configured.',
    )
    api_key: Secret | None = option(None, help="Sent as a Bearer token; absent or empty = none.")
    models_path: str = option(
        MODELS_PATH,
        validator=plain_path,
        help="Path of the list of models, appended to `endpoint`; empty = the default.",
    )
    legacy_models_path: str = option(
        LEGACY_MODELS_PATH,
        validator=plain_path,
        help="Path to ask when the default `models_path` lists no connected model or fails; empty = none.",
    )
    legacy_ws_url: Url = option(
        Url(),
        validator=schemes("ws", "wss", "http", "https"),
        help="FlashTalk's own WebSocket, used where `endpoint` is empty: flashtalk is connected, unprobed.",
    )

    @property
    def is_configured(self) -> bool:
        """Whether there is an endpoint, or the legacy URL in place of one."""
        return bool(self.endpoint) or bool(self.legacy_ws_url)

    async def probe(self) -> list[Report]:
        """Ask for the list, and report the server and each configured model."""
        if not self.endpoint:
            return self._legacy()
        listing = await self._listing()
        names = {model: _id(model) for model in self.context.models}
        connected = sum(name in listing.connected for name in names.values())
        facts: dict[str, Json] = {
            **bounded("listed", listing.ids),
            **bounded("connected", listing.connected),
            **bounded("unlisted", listing.ids.difference(map(_id, self.context.all_models))),
        }
        message = f"{connected} of {len(names)} configured models connected."
        models = [_model_report(model, name, listing) for model, name in names.items()]
        return [Report.ok(message=message, facts=facts), *models]

    async def _listing(self) -> Listing:
        """Return the first list with a connected model; if none, the first that lists any.

        Raises:
            ProbeError: that of the first path, when it failed and the legacy path lists nothing either.
        """
        try:
            first = await self._fetch(self.models_path or MODELS_PATH)
        except ProbeError:
            second = await self._fallback()
            if second.ids:
                return second
            raise
        if first.connected:
            return first
        second = await self._fallback()
        return second if second.connected or not first.ids else first

    async def _fallback(self) -> Listing:
        """Return the legacy path's list; an empty one when it fails or is not to be asked."""
        if not self.legacy_models_path or self.models_path not in {"", MODELS_PATH}:
            return Listing()
        try:
            return await self._fetch(self.legacy_models_path)
        except ProbeError:
            return Listing()

    async def _fetch(self, path: str) -> Listing:
        base = self.endpoint.with_scheme(HTTP.get(self.endpoint.scheme, self.endpoint.scheme))
        key = self.api_key.reveal() if self.api_key else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        response = await self.get(base.with_path(path), headers=headers)
        expect_success(response)
        return Listing.of(parse_object(response.body))

    def _legacy(self) -> list[Report]:
        assumed = Report.degraded(
            "legacy_ws", "Shown as connected because legacy_ws_url is set; nothing was probed."
        )
        models = [
            attrs.evolve(assumed, model=model, label="legacy_ws")
            if _id(model) == LEGACY_MODEL
            else Report.off(
                "not_configured", "It needs an endpoint; only flashtalk has a legacy URL.", model=model
            )
            for model in self.context.models
        ]
        return [assumed, *models]


def _model_report(model: str, name: str, listing: Listing) -> Report:
    if name in listing.connected:
        return Report.ok(model=model)
    word = listing.reasons.get(name)
    if word is None:
        return Report.down("not_listed", "The server does not list this model.", model=model)
    if not word:
        return Report.down("not_connected", "The server lists this model as not connected.", model=model)
    message = f"The server lists this model as not connected: {word}."
    return Report.down("not_connected", message, model=model, facts={"server_reason": word})


def _id(value: object) -> str:
    """Return a model id as it is compared; ``""`` for what cannot be one."""
    return str(value).strip().lower() if type(value) in {str, int} else ""


@hookimpl
def statusd_register_sources(registry: SourceRegistry) -> None:
    """Register the source type."""
    registry.add(OmniRtSource)
