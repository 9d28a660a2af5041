"""Settings: one place, from the environment (`RECOLLECT_*`), a TOML or YAML file, and the command line.

What is given on the command line wins over the environment, which wins over the file that `RECOLLECT_CONFIG` names.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
    YamlConfigSettingsSource,
)

from recollect.adapters.folders import kind_of
from recollect.service.provenance.policies import parse_policies
from recollect.service.requests import BATCH_MEMORIES_MAX

CONFIG_VARIABLE = "RECOLLECT_CONFIG"
DEFAULT_KIND = "edge"
Count = Annotated[int, Field(ge=1)]


def _default_storage() -> str:
    """The user's store is of the embedded engine, unless one of another kind is there from before."""
    folder = platformdirs.user_data_path("recollect") / "store"
    return f"{kind_of(folder) or DEFAULT_KIND}:{folder}"


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="RECOLLECT_", extra="forbid", use_attribute_docstrings=True, frozen=True, validate_default=True
    )

    storage: str = Field(default_factory=_default_storage)
    """The store's URL, such as edge:PATH or file:PATH; edge: in the user's data folder if not given."""
    host: str = "127.0.0.1"
    """The address that the service listens on."""
    port: int = Field(default=8300, ge=0, le=65_535)
    """The port that the service listens on; 0 takes a free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names in the Host header that a service on loopback answers for besides localhost; `*` stands for all."""

    model: str = "all-MiniLM-L6-v2"
    """The embedding model: the bundled one, a sentence-transformers name or path, or an endpoint's URL."""
    model_runtime: Literal["auto", "openvino", "torch"] = "auto"
    """What runs the model; auto takes the fastest whose vectors agree with fp32."""
    model_api_key: SecretStr | None = None
    """The key of the embedding endpoint."""
    model_name: str | None = None
    """The model's name at the embedding endpoint."""
    model_dimension: Count | None = None
    """The length of the endpoint's vectors."""
    cache_folder: Path | None = None
    """Where converted models are kept; the user's cache folder if not given."""
    embed_queue_texts_max: Count = 20_000
    """How many texts may wait to be embedded before the service answers 429."""

    preset: Literal["interactive", "background", "minimal"] = "interactive"
    """How writes are tracked and flushed: see the README."""
    track_full_namespaces: tuple[str, ...] = ("shared", "longterm")
    """The namespaces whose memories keep full provenance under the preset `interactive`."""
    default_actor: str = "anonymous"
    """Who wrote a memory, where its writer does not say."""
    flush_operations_max: Count = 50
    """Under the preset `background`: how many writes the load may gather before they are flushed, at most."""
    flush_interval_ms: float = Field(default=100, gt=0, le=10_000)
    """Under the preset `background`: how long the load may have a write wait for others, at most."""
    working_memories_max: Count = 128
    """How many memories of the kind working a namespace holds; the least recently used leaves."""
    ghost_ttl_s: float = Field(default=3600, gt=0)
    """How long a memory of the kind ghost lives, where it does not say when it expires."""
    idempotency_ttl_s: float = Field(default=86_400, gt=0)
    """How long an idempotency key is remembered."""
    sweep_interval_s: float = Field(default=60, gt=0)
    """How often expired memories are forgotten."""
    provenance_retention: tuple[str, ...] = ()
    """How long superseded versions are kept: `NAMESPACE=for-ever`, `=age:30d` or `=count:20`; `*` names all others."""
    retention_interval_s: float = Field(default=3600, gt=0)
    """How often versions are dropped by `provenance_retention`."""
    receipts_namespaces: tuple[str, ...] = ("shared", "longterm")
    """The namespaces for which it is kept who was given which memory; `[]` keeps none."""
    receipts_ttl_s: float = Field(default=7_776_000, gt=0)
    """How long a recall receipt is kept."""
    receipts_hits_max: int = Field(default=100, ge=1, le=1000)
    """How many hits of one recall its receipt names, the best ones; their number is kept in any case."""

    content_bytes_max: Count = 1_048_576
    """How large one memory may be: content and metadata as JSON."""
    batch_memories_max: int = Field(default=1000, ge=1, le=BATCH_MEMORIES_MAX)
    """How many memories one batch request may hold."""
    body_bytes_max: Count = 33_554_432
    """How large the body of a request may be; imports stream, and this bounds each of their lines."""
    bodies_bytes_max: Count = 268_435_456
    """How large the bodies of all requests under way may be together before the service answers 503."""
    requests_max: Count = 256
    """How many requests may be under way before the service answers 503."""
    heartbeat_s: float = Field(default=15, gt=0, le=15)
    """How often a stream that has nothing else to say says that it lives."""
    shutdown_s: float = Field(default=9, gt=0)
    """How long stopping may take: four fifths for running requests, the rest for the last flush."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """From which level on the service logs."""
    log_format: Literal["text", "json"] = "text"
    """Logs for people or for programs."""
    slow_operation_ms: float = Field(default=500, gt=0)
    """From which time on an operation is logged with its parts."""

    @field_validator("provenance_retention")
    @classmethod
    def _are_policies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_policies(value)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the file that `RECOLLECT_CONFIG` names as the last source before the defaults."""
        del dotenv_settings, file_secret_settings
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        path = os.environ.get(CONFIG_VARIABLE)
        if path:
            if not Path(path).is_file():
                raise ValueError(f"{CONFIG_VARIABLE} names {path}, which is no file")
            toml = Path(path).suffix == ".toml"
            source = TomlConfigSettingsSource if toml else YamlConfigSettingsSource
            sources.append(source(settings_cls, Path(path)))
        return tuple(sources)
