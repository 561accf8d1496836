"""The bodies of Takeoff's ``/status`` in every documented version (Doubleword's and TitanML's published docs)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

ReaderState: TypeAlias = Literal["loading", "live", "dead"]
Schema: TypeAlias = Literal["0.10", "0.11", "0.16", "next", "0.21", "doubleword"]
SCHEMAS: Final[tuple[Schema, ...]] = get_args(Schema)
"""Every documented version of the management shape, oldest first; 0.17 is as 0.16."""


@attrs.frozen(kw_only=True)
class Reader:
    """A served model instance.

    Attributes:
        state: which of the maps it stands in.
        model_name: what it serves.
        model_type: free text.
        consumer_group: the group whose queue it reads.
        device: ``cpu``, ``cuda`` or ``api``.
        pids: its processes, inside its container.
        heartbeat_at: when it last was heard of, in seconds since 1970.
    """

    state: ReaderState = "live"
    model_name: str = "TitanML/dummy_model"
    model_type: str = "causal"
    consumer_group: str = "primary"
    device: str = "cuda"
    pids: tuple[int, ...] = (41,)
    heartbeat_at: float = 1_763_751_600.0


_OLDEST: Final[dict[str, Any]] = {
    "echo": False,
    "enable_metrics": True,
    "heartbeat_check_interval": 1,
    "management_port": 3001,
    "port": 3000,
    "vertex_port": 3002,
}
_LAUNCHES: Final[dict[str, Any]] = {
    "batch_duration_millis": 100,
    "max_batch_size": 8,
    "launch_management_server": True,
    "launch_sagemaker_server": True,
    "launch_vertex_server": True,
}
_OPENAI: Final[dict[str, Any]] = {
    "allow_remote_images": False,
    "body_size_limit_bytes": 2_097_152,
    "openai_port": 3003,
}
_PORTS: Final[dict[str, Any]] = {
    "internal_port": 3005,
    "reader_message_timeout_ms": 500,
    "snowflake_port": 3004,
}
_LIMITS: Final[dict[str, Any]] = {"max_prompt_string_bytes": 150_000, "max_user_batch_size": 1000}
_FILE: Final = {"repository_path": "file:///path/to/home/artefacts"}
_PATH: Final = {"repository_path": "/path/to/home/artefacts"}

CONFIGS: Final[Mapping[Schema, Mapping[str, Any]]] = {
    "0.10": _OLDEST | _LAUNCHES,
    "0.11": _OLDEST | _LAUNCHES,
    "0.16": _OLDEST | _LAUNCHES | {"launch_openai_server": True} | _OPENAI | _FILE,
    "next": _OLDEST | _OPENAI | _PORTS | _FILE,
    "0.21": _OLDEST | _OPENAI | _PORTS | _LIMITS | _PATH | {"reserved_consumers": "primary"},
    "doubleword": _OLDEST | _OPENAI | _PORTS | _LIMITS | _PATH | {"reserved_consumers": ""},
}
"""The ``config`` object of each version, with the documented defaults."""


def management_document(
    readers: Mapping[str, Reader], schema: Schema = "doubleword", *, is_milliseconds: bool = False
) -> dict[str, Any]:
    """Return the document of the management API, ``{"config": ..., "status": ...}``.

    Args:
        readers: reader id -> reader.
        schema: the version.
        is_milliseconds: write heartbeat timestamps in milliseconds; their unit is undocumented.
    """
    status: dict[str, Any] = {}
    if schema in {"0.10", "0.11"}:
        status["input_model_paths"] = {
            name: f"/models/{reader.model_name}" for name, reader in readers.items()
        }
    for state in ("dead", "live", "loading"):
        status[f"{state}_readers"] = {
            name: _reader_info(name, reader, schema)
            for name, reader in readers.items()
            if reader.state == state
        }
    status["last_heartbeat"] = {
        name: {
            "heartbeat_timestamp": int(reader.heartbeat_at * (1000 if is_milliseconds else 1)),
            "heartbeat_wait_interval": 10,
        }
        for name, reader in readers.items()
        if reader.state != "loading"
    }
    if schema == "doubleword":
        status["reserved_consumers"] = _groups(readers.values())
    return {"config": dict(CONFIGS[schema]), "status": status}


def inference_document(readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Return the flat, masked document of the inference API: live and dead readers, and ports."""
    document: dict[str, Any] = {
        f"{state}_readers": {
            name: {
                "consumer_groups": [reader.consumer_group],
                "device": reader.device,
                "loras": None,
                "model_name": reader.model_name,
                "model_type": reader.model_type,
            }
            for name, reader in readers.items()
            if reader.state == state
        }
        for state in ("live", "dead")
    }
    return document | {"ports": [0]}


def with_lists(document: dict[str, Any]) -> dict[str, Any]:
    """Return either document with its reader maps as lists, as the mock of takeoff_client has them."""
    if isinstance(document.get("status"), dict):
        return document | {"status": with_lists(document["status"])}
    return {
        name: list(value.values()) if name.endswith("_readers") and isinstance(value, dict) else value
        for name, value in document.items()
    }


def _reader_info(name: str, reader: Reader, schema: Schema) -> dict[str, Any]:
    info: dict[str, Any] = {
        "model_name": reader.model_name,
        "model_type": reader.model_type,
        "pids": list(reader.pids),
    }
    if schema == "0.10":
        return info
    if schema in {"0.11", "0.16"}:
        return info | {"backend": "compress-fast", "consumer_group": reader.consumer_group}
    info |= {
        "consumer_groups": [reader.consumer_group],
        "consumer_name": name,
        "device": reader.device,
    }
    if schema == "doubleword":
        info |= {"enable_document_processing": False, "loras": None}
    return info


def _groups(readers: Iterable[Reader]) -> list[str]:
    return sorted({reader.consumer_group for reader in readers})
