"""`http`: any server with a health endpoint, and by presets the usual inference servers with their lists of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import quote

import attrs

from statusd import (
    HttpResponse,
    Json,
    OptionError,
    ProbeError,
    Report,
    Secret,
    SourceRegistry,
    Url,
    expect_success,
    hookimpl,
    option,
    parse_json,
    schemes,
)
from statusd_plugins.common_keys import body_size
from statusd_plugins.http_answers import (
    USUAL_WORDS,
    Expectation,
    facts_of,
    judge,
    model_ids,
)
from statusd_plugins.http_keys import a_header_name, a_path, codes, header_fields
from statusd_plugins.http_presets import PRESETS, Preset, refusal
from statusd_plugins.json_pointer import Pointer, a_pointer, pointers
from statusd_plugins.over_http import OverHttp
from statusd_plugins.upstream_text import bounded, printable

_NOT_OFFERED: Final = frozenset({404, 405, 501})


@attrs.frozen(kw_only=True)
class HttpHealthSource(OverHttp):
    """Asks a health endpoint, judges the answer, and holds the models against the server's own list of them."""

    url: Url = option(
        Url(),
        validator=schemes("http", "https"),
        help="The health endpoint; with `preset` or `path`, the address that paths are appended to.",
    )
    preset: (
        Literal[
            "vllm",
            "tgi",
            "triton",
            "kserve",
            "ollama",
            "llamacpp",
            "sglang",
            "litellm",
            "ray_serve",
            "llama_swap",
        ]
        | None
    ) = option(None, help="Kind of server; fills in the keys below, where they are not set.")
    path: str | None = option(
        None, validator=a_path, help="Path of the health endpoint, with query, appended to `url`."
    )
    expect_status: list[int] = option(
        factory=list, validator=codes, help="Status codes that are well; none = any 2xx."
    )
    contains: str | None = option(None, help="Text that the body must contain.")
    loading_contains: str | None = option(
        None, help="Text in an answer with another status code that makes the reason `loading`."
    )
    status_pointer: str | None = option(
        None, validator=a_pointer, help='JSON pointer to a status in the body, such as "/status".'
    )
    status_map: dict[str, Literal["ok", "degraded", "unknown", "down"]] = option(
        factory=dict, help="The server's word, in any case -> the status; without it, the usual words."
    )
    facts: dict[str, str] = option(
        factory=dict, validator=pointers, help="Name -> JSON pointer of a value to show in the tree."
    )
    models_path: str | None = option(
        None, validator=a_path, help='Path of the list of models, appended to `url`; "" = do not ask.'
    )
    models_pointer: str | None = option(
        None, validator=a_pointer, help='JSON pointer to the model ids, such as "/data/*/id", the default.'
    )
    model_names: dict[str, str] = option(
        factory=dict, help="Id in [models] -> what the server calls that model, where the two differ."
    )
    api_key: Secret | None = option(None, help="Sent as a Bearer token, or as it is in `api_key_header`.")
    api_key_header: str = option(
        "Authorization", validator=a_header_name, help="Header field that the key is sent in."
    )
    headers: dict[str, str] = option(
        factory=dict, validator=header_fields, help="Further header fields, shown in the configuration."
    )
    max_body: int = option(1 << 20, validator=body_size, help="Bytes of a body that are read.")

    def __attrs_post_init__(self) -> None:
        """Want keys that go together, and no costly request."""
        if self.status_map and not self.status_pointer:
            raise OptionError("status_map", "needs status_pointer, which says where the status is")
        if self.models_pointer and not self._models_path:
            raise OptionError("models_pointer", "needs models_path, which says where the list is")
        if self.api_key and (self.url.username or self.url.password):
            raise OptionError("api_key", "and the user in url are two credentials; set one of them")
        if self._preset is not None and self.path is None and self.url.path.endswith(self._preset.path):
            raise OptionError(
                "url",
                f'ends in "{self._preset.path}", which the preset appends; write only what comes before it',
            )
        for key, target in (
            ("path" if self.path else "url", self._health_url),
            ("models_path", self._at(self._models_path)),
        ):
            if why := refusal(self._preset, target.path, target.query):
                raise OptionError(key, why)

    @property
    def is_configured(self) -> bool:
        """Whether there is a URL."""
        return bool(self.url)

    async def probe(self) -> list[Report]:
        """Ask the server how it is, and if it is well, which models it has."""
        started = self.context.clock.monotonic()
        own = judge(await self._get(self._health_url), self._expectation)
        own = attrs.evolve(own, measurements={"answer_seconds": self.context.clock.monotonic() - started})
        if not own.status.is_connected:
            return [own]
        if self._preset is not None and self._preset.ready_path:
            return [own, *[await self._asked(model, own) for model in self.context.models]]
        if not self._models_path:
            return [own]
        return await self._with_list(own)

    async def _with_list(self, own: Report) -> list[Report]:
        """Hold the configured models against the server's list."""
        try:
            response = await self._get(self._at(self._models_path))
            if response.status in _NOT_OFFERED:
                return [_listless(own, "http_error", f"answered {response.status}: it is not offered here.")]
            expect_success(response)
            document = parse_json(response.body)
            listed = model_ids(document, Pointer.parse(self.models_pointer or self._preset_pointer))
        except ProbeError as error:
            if error.reason == "unauthorized":
                return [_listless(own, "unauthorized", "wants another key; set api_key.")]
            failed = _listless(own, error.reason, f"could not be read: {error.message}")
            unknown = Report.unknown(error.reason, failed.message)
            return [failed, *[attrs.evolve(unknown, model=model) for model in self.context.models]]
        facts: dict[str, Json] = {
            **own.facts,
            **facts_of(document, _parsed(self._preset.list_facts if self._preset else {})),
            **await self._active(),
            **bounded("listed", listed),
            **bounded("unlisted", listed.difference(*map(self._names, self.context.all_models))),
        }
        models = [self._held_against(model, listed, own) for model in self.context.models]
        return [attrs.evolve(own, facts=facts), *models]

    def _held_against(self, model: str, listed: frozenset[str], own: Report) -> Report:
        if listed.intersection(self._names(model)):
            return Report(status=own.status, reason=own.reason, message=own.message, model=model)
        name = self.model_names.get(model, model)
        message = (
            f'The server does not list "{printable(name)}"; the fact "listed" of its source has what it does.'
        )
        return Report.down("not_listed", message, model=model)

    async def _asked(self, model: str, own: Report) -> Report:
        """Ask whether one model is ready, by the code alone."""
        assert self._preset is not None
        name = quote(self.model_names.get(model, model), safe="")
        response = await self._get(self._at(self._preset.ready_path.format(model=name)))
        code = response.status
        if code == 200:
            return Report(status=own.status, reason=own.reason, message=own.message, model=model)
        if code in {401, 403}:
            return Report.unknown("unauthorized", "The server wants another key; set api_key.", model=model)
        reason = "not_listed" if code == 404 else "unavailable"
        return Report.down(reason, f"The server answered {code}: the model is not ready.", model=model)

    async def _active(self) -> dict[str, Json]:
        """Return which models are in memory as a fact; none of it when the server does not say."""
        if self._preset is None or not self._preset.active_path:
            return {}
        try:
            response = await self._get(self._at(self._preset.active_path))
            expect_success(response)
            active = model_ids(parse_json(response.body), Pointer.parse(self._preset.active_pointer))
        except ProbeError:
            return {}
        return bounded(self._preset.active_fact, active)

    def _names(self, model: str) -> frozenset[str]:
        """Return what the server may call `model`."""
        name = self.model_names.get(model, model)
        tag = self._preset.implied_tag if self._preset is not None else ""
        has_tag = ":" in name.rpartition("/")[2]
        return frozenset({name} if has_tag or not tag else {name, name + tag})

    async def _get(self, url: Url) -> HttpResponse:
        headers = dict(self.headers)
        if self.api_key:
            is_bearer = self.api_key_header.lower() == "authorization"
            headers[self.api_key_header] = ("Bearer " if is_bearer else "") + self.api_key.reveal()
        return await self.get(url, headers=headers, max_body=self.max_body)

    def _at(self, path: str) -> Url:
        path, _, query = path.partition("?")
        return self.url.with_path(path, query or self.url.query)

    @property
    def _preset(self) -> Preset | None:
        return PRESETS[self.preset] if self.preset is not None else None

    @property
    def _health_url(self) -> Url:
        path = self.path if self.path is not None else self._preset.path if self._preset else ""
        return self._at(path) if path else self.url

    @property
    def _models_path(self) -> str:
        if self.models_path is not None:
            return self.models_path
        return self._preset.models_path if self._preset is not None else ""

    @property
    def _preset_pointer(self) -> str:
        # A list at another path has another shape than the preset knows.
        is_preset = self._preset is not None and self.models_path in {None, self._preset.models_path}
        return self._preset.models_pointer if self._preset is not None and is_preset else "/data/*/id"

    @property
    def _expectation(self) -> Expectation:
        # What a preset expects in a body holds for its own path only.
        preset = self._preset if self.path is None else None
        loading = self._preset.loading_contains if self._preset is not None else ""
        return Expectation(
            codes=frozenset(self.expect_status),
            contains=self.contains if self.contains is not None else preset.contains if preset else "",
            loading_contains=self.loading_contains if self.loading_contains is not None else loading,
            not_ready=preset.not_ready if preset is not None else frozenset(),
            status=Pointer.parse(self.status_pointer) if self.status_pointer is not None else None,
            words={word.lower(): status for word, status in self.status_map.items()} or USUAL_WORDS,
            facts=_parsed({**(preset.facts if preset is not None else {}), **self.facts}),
        )


def _parsed(texts: Mapping[str, str]) -> dict[str, Pointer]:
    return {name: Pointer.parse(text) for name, text in texts.items()}


def _listless(own: Report, reason: str, what: str) -> Report:
    """Return the report about a server that is well and does not tell which models it has."""
    message = f"The server is well, and its list of models {what}"
    return Report.degraded(reason, message, facts=own.facts, measurements=own.measurements)


@hookimpl
def statusd_register_sources(registry: SourceRegistry) -> None:
    """Register `http`."""
    registry.add(HttpHealthSource)
