"""Takeoff's documented answer of ``/status``, as types: nothing is held against them, bodies are relayed as they are."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

Int32: TypeAlias = Annotated[int, Meta(extra_json_schema={"format": "int32"})]
Int64: TypeAlias = Annotated[int, Meta(extra_json_schema={"format": "int64"})]


def _int32(default: int) -> Meta:
    return Meta(extra_json_schema={"format": "int32", "default": default})


def _int64(default: int) -> Meta:
    return Meta(extra_json_schema={"format": "int64", "default": default})


def _default(value: bool | int | str) -> Meta:
    return Meta(extra_json_schema={"default": value})


class AppConfig(Struct, frozen=True, kw_only=True):
    """The app configuration."""

    allow_remote_images: Annotated[bool, _default(False)]
    body_size_limit_bytes: Annotated[int, _default(2_097_152)]
    echo: Annotated[bool, _default(False)]
    enable_metrics: Annotated[bool, _default(True)]
    heartbeat_check_interval: Annotated[int, _int64(1)]
    internal_port: Annotated[int, _int32(3005)]
    management_port: Annotated[int, _int32(3001)]
    max_prompt_string_bytes: Annotated[int, _default(150_000)]
    max_user_batch_size: Annotated[int, _default(1000)]
    openai_port: Annotated[int, _int32(3003)]
    port: Annotated[int, _int32(3000)]
    reader_message_timeout_ms: Annotated[int, _int64(500)]
    repository_path: Annotated[str, _default("/path/to/home/artefacts")]
    reserved_consumers: Annotated[str, _default("")]
    snowflake_port: Annotated[int, _int32(3004)]
    vertex_port: Annotated[int, _int32(3002)]


class ReaderInfo(Struct, frozen=True, kw_only=True):
    """A served model instance."""

    consumer_groups: tuple[str, ...]
    consumer_name: str
    device: str
    enable_document_processing: bool
    loras: str | UnsetType | None = UNSET
    model_name: str
    model_type: str
    pids: tuple[Int32, ...]


class LastHeartbeat(Struct, frozen=True, kw_only=True):
    """When a reader was last heard of, and how long it may be silent."""

    heartbeat_timestamp: Int64
    heartbeat_wait_interval: Int64


class AppStatus(Struct, frozen=True, kw_only=True):
    """The readers, by id."""

    dead_readers: dict[str, ReaderInfo]
    last_heartbeat: dict[str, LastHeartbeat]
    live_readers: dict[str, ReaderInfo]
    loading_readers: dict[str, ReaderInfo]
    reserved_consumers: tuple[str, ...]


class TakeoffStatus(Struct, frozen=True, kw_only=True):
    """What a Takeoff server of the documented version answers."""

    config: AppConfig
    status: AppStatus | UnsetType | None = UNSET
