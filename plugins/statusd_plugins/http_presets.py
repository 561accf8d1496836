"""What the `http` plugin knows about particular servers: where to ask, what to read, and what never to ask."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qs, unquote

import attrs

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
OPENAI_LIST: Final = "/data/*/id"


@attrs.frozen
class Refused:
    """A GET that must not be sent, because it costs work or money, or gives secrets away.

    Attributes:
        path: matches the end of the decoded and normalised path, from a ``/`` on.
        why: what it does, and what to do instead.
        parameter: refuses it only with this query parameter.
    """

    path: re.Pattern[str]
    why: str
    parameter: str = ""


@attrs.frozen(kw_only=True)
class Preset:
    """The keys of the `http` plugin for one kind of server, and what has no key.

    Attributes:
        path, contains, loading_contains, facts, models_path, models_pointer: as the keys of the source.
        list_facts: fact -> pointer into the answer at `models_path`; all else there stays there.
        ready_path: path that says by its code alone whether ``{model}`` is ready, instead of a list.
        active_path, active_pointer: where it lists models in memory, a fact that decides nothing.
        active_fact: the name of that fact.
        implied_tag: what a model id without one of its own means, such as ``:latest``.
        not_ready: status codes besides 503 by which it says that it is not ready.
        refused: what never to ask it.
    """

    path: str
    contains: str = ""
    loading_contains: str = ""
    facts: Mapping[str, str] = NOTHING
    models_path: str = ""
    models_pointer: str = ""
    list_facts: Mapping[str, str] = NOTHING
    ready_path: str = ""
    active_path: str = ""
    active_pointer: str = ""
    active_fact: str = ""
    implied_tag: str = ""
    not_ready: frozenset[int] = frozenset()
    refused: tuple[Refused, ...] = ()


_GENERATE: Final = Refused(
    re.compile(r"/health_generate"),
    "makes SGLang generate a token at each probe; leave it out, and /get_model_info is asked",
)
_WAIT: Final = Refused(
    re.compile(r"/healthz"), "keeps Takeoff waiting for readers; ask /status with the takeoff plugin", "wait"
)
_TRITON: Final = Preset(
    path="/v2/health/ready", ready_path="/v2/models/{model}/ready", not_ready=frozenset({400})
)

EVERYWHERE: Final = (_GENERATE, _WAIT)
"""Refused also without a preset: these paths mean nothing else."""

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "vllm": Preset(path="/health", models_path="/v1/models", models_pointer=OPENAI_LIST),
        "tgi": Preset(
            path="/health",
            models_path="/info",
            models_pointer="/model_id",
            list_facts={"model_id": "/model_id", "model_dtype": "/model_dtype", "version": "/version"},
        ),
        "triton": _TRITON,
        "kserve": _TRITON,
        "ollama": Preset(
            path="/api/version",
            facts={"version": "/version"},
            models_path="/api/tags",
            models_pointer="/models/*/name",
            active_path="/api/ps",
            active_pointer="/models/*/name",
            active_fact="loaded",
            implied_tag=":latest",
        ),
        "llamacpp": Preset(
            path="/health",
            loading_contains="Loading model",
            models_path="/v1/models",
            models_pointer=OPENAI_LIST,
        ),
        "sglang": Preset(
            # /health generates a token in many versions; this one only says what is loaded.
            path="/get_model_info",
            facts={"model_path": "/model_path", "is_generation": "/is_generation"},
            models_path="/v1/models",
            models_pointer=OPENAI_LIST,
            refused=(
                Refused(
                    re.compile(r"/get_server_info"),
                    "may answer with an API key; leave it out, and /get_model_info is asked",
                ),
            ),
        ),
        "litellm": Preset(
            path="/health/readiness",
            facts={"db": "/db"},
            models_path="/v1/models",
            models_pointer=OPENAI_LIST,
            refused=(
                Refused(
                    re.compile(r"/health"),
                    "makes LiteLLM call every model, which is paid for; leave it out, and /health/readiness is asked",
                ),
            ),
        ),
        "ray_serve": Preset(path="/-/healthz", contains="success"),
        "llama_swap": Preset(
            path="/health",
            contains="OK",
            models_path="/v1/models",
            models_pointer=OPENAI_LIST,
            active_path="/running",
            active_pointer="/running/*/model",  # the model's name only: `cmd` beside it may hold secrets
            active_fact="running",
            refused=(
                Refused(
                    re.compile(r"/upstream(?:/.*)?"),
                    "can make llama-swap start a model; leave it out, and /health is asked",
                ),
            ),
        ),
    }
)
"""``preset`` -> what it stands for."""


def refusal(preset: Preset | None, path: str, query: str) -> str:
    """Return why a GET of `path` must not be sent, and the remedy; ``""`` when it may be.

    The path is compared as a server would see it: decoded, without ``//``, ``.`` and ``..``, and without a last ``/``.
    """
    decoded = posixpath.normpath("/" + unquote(path).lstrip("/"))
    for refused in (*EVERYWHERE, *(preset.refused if preset is not None else ())):
        # A gateway may put a prefix before the path.
        if re.search(rf"(?:{refused.path.pattern})\Z", decoded) and (
            not refused.parameter or refused.parameter in parse_qs(query, keep_blank_values=True)
        ):
            return refused.why
    return ""
