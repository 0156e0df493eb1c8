"""What can be set, what is it by default, and why?

This is the only reader of the environment: `GATEKEEPER_<NAME>` for every setting, and the names that existing
deployments use for some.
"""

from __future__ import annotations

import os
import socket
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from gatekeeper.domain.money import AMOUNT_MAX, NANO

DEFAULT_TARGET = "127.0.0.1:50051"


def _instance() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _whole_nanos(amount: Decimal) -> Decimal:
    if amount != amount.quantize(NANO):
        message = "has more than nine digits behind the point"
        raise ValueError(message)
    return amount


def _split(listen: Any) -> Any:
    """Read addresses as the environment has them: one text, separated by commas."""
    return tuple(part.strip() for part in listen.split(",")) if isinstance(listen, str) else listen


Amount = Annotated[Decimal, Field(ge=0, lt=AMOUNT_MAX, allow_inf_nan=False), AfterValidator(_whole_nanos)]


class Settings(BaseSettings):
    """Every setting of the server. A field's description says what it bounds and why it has its default."""

    model_config = SettingsConfigDict(env_prefix="GATEKEEPER_", populate_by_name=True, frozen=True, extra="ignore")

    listen: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (DEFAULT_TARGET,), description="Addresses to listen on: HOST:PORT or unix:PATH, separated by commas."
    )
    database_url: SecretStr | None = Field(
        None, description="postgresql://… Without one, the embedded PostgreSQL below data_dir is used."
    )
    data_dir: Path | None = Field(None, description="Where the embedded PostgreSQL keeps its data.")
    pg_bin: Path | None = Field(None, description="Folder with PostgreSQL's programs for the embedded database.")
    instance: str = Field(
        default_factory=_instance, max_length=128, description="Name of this process in the ledger's rows."
    )
    monthly_budget: Amount = Field(
        Decimal(1000),
        validation_alias=AliasChoices("GATEKEEPER_MONTHLY_BUDGET", "MAX_MONTHLY_BUDGET"),
        description="Cap of the monthly budget that an organization gets when it is seen for the first time.",
    )
    auto_provision: bool = Field(
        True, description="Whether a Reserve opens an organization that is not known. Off: NOT_FOUND."
    )
    batch_max: int = Field(
        256, ge=1, le=4096, description="Calls in one transaction. More lengthen the lock without gain in throughput."
    )
    queue_max: int = Field(
        2048, ge=1, le=100_000, description="Calls that may wait for one organization, about half a second of work."
    )
    queue_total_max: int = Field(
        8192, ge=1, le=1_000_000, description="Calls that may wait altogether; bounds memory when the database is slow."
    )
    pool_max: int = Field(
        8, ge=1, le=200, description="Connections for the hot path: organizations whose batches run side by side."
    )
    report_pool_max: int = Field(4, ge=1, le=100, description="Connections for reads, apart from the hot path's.")
    batch_timeout_s: float = Field(
        12, gt=0, le=300, description="A batch that takes longer is given up, so that its lane can recover."
    )
    stalled_after_s: float = Field(
        2, gt=0, le=60, description="A lane whose batch takes longer has a slow database, and says so when it is full."
    )
    sweep_interval_s: float = Field(
        1, ge=0.05, le=60, description="How often overdue holds are looked for: how late their money comes back."
    )
    probe_interval_s: float = Field(
        1, ge=0.05, le=60, description="How often the database is probed for health, and price books are read again."
    )
    drain_delay_s: float = Field(
        0,
        ge=0,
        le=120,
        description="How long to serve on as NOT_SERVING, for load balancers to notice, before draining.",
    )
    drain_timeout_s: float = Field(
        10, ge=0, le=300, description="How long calls under way may take to end when the server stops."
    )
    message_bytes_max: int = Field(
        65_536, ge=1024, le=4_194_304, description="A request's size; the largest valid one is about 45 kB."
    )
    concurrent_streams_max: int = Field(
        4096, ge=1, le=1_000_000, description="Calls under way on one connection; the queue is bounded besides."
    )
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="The least severe events to log."
    )
    log_format: str = Field("auto", pattern="^(auto|json|console)$", description="console on a terminal, else json.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - given by the library, like the sources below
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments before the environment, and nothing else: no files appear by surprise."""
        return init_settings, env_settings


def load_settings(**given: Any) -> Settings:
    """Read the settings; those `given` (and not None) win over the environment.

    Raises `pydantic.ValidationError`, which names the setting.
    """
    return Settings(**{name: value for name, value in given.items() if value is not None})
