"""What can be set, what is it by default, and why?

This is the only reader of the environment: `GATEKEEPER_<NAME>` for every setting, and the names that existing
deployments use for some.
"""

from __future__ import annotations

import os
import socket
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, model_validator
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


def _printable(text: str) -> str:
    """Refuse what no page could show."""
    if any(unicodedata.category(character).startswith("C") for character in text.replace("\n", "")):
        message = "has control characters, or is no UTF-8"
        raise ValueError(message)
    return text


def _one_line(text: str) -> str:
    if "\n" in text:
        message = "has more than one line"
        raise ValueError(message)
    return text


SellerLines = Annotated[str, AfterValidator(_printable)]
SellerText = Annotated[SellerLines, AfterValidator(_one_line)]
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
    insecure: bool = Field(False, description="Ask nobody for a token. Only on loopback addresses and Unix sockets.")
    allow_plaintext: bool = Field(
        False, description="Listen off loopback without TLS: tokens and calls can be read on the way."
    )
    operator_token_file: Path | None = Field(
        None, description="Where the first operator token is put; operator.token in data_dir unless set."
    )
    tls_certificate_file: Path | None = Field(
        None, description="PEM file of the server's certificate chain. With it, every TCP address speaks TLS."
    )
    tls_key_file: Path | None = Field(None, description="PEM file of the certificate's private key.")
    tls_client_ca_file: Path | None = Field(
        None, description="PEM file of authorities. With it, every TCP client must show a certificate of theirs."
    )
    unix_mode: Literal["0600", "0660"] = Field(
        "0600", description="Mode of Unix sockets: for the server's user, or its group as well."
    )
    unix_peers: bool = Field(
        False,
        description="Let Unix sockets tell which user calls (uid=…), so that a role can be given to it. Costs a copy.",
    )
    tls_reload_interval_s: float = Field(
        1,
        ge=0.05,
        le=3600,
        description="How often, at most, a new connection looks whether the TLS files have changed.",
    )
    audit_key_file: Path | None = Field(
        None,
        description="File with the secret that seals the audit trail, the same for every process on a database; "
        "audit.key in data_dir for the embedded database. Without it, seals need no secret to forge.",
    )
    logs_dir: Path = Field(
        Path("logs"),
        description="Folder for logs that people read: blocked and override executions, alerts; rotated at 5 MB.",
    )
    audit_interval_s: float = Field(
        1, ge=0.05, le=3600, description="How often audit events are chained: how long a new one stands without a link."
    )
    server_role: str = Field(
        "gatekeeper_server", max_length=63, description="PostgreSQL role that `gatekeeper migrate --grant` lets serve."
    )
    calls_per_s_max: float = Field(
        2000,
        gt=0,
        le=1_000_000,
        description="Calls a second of one caller in this process, about half of what it can answer; "
        "as many at once after a pause.",
    )
    open_holds_max: int = Field(
        100_000, ge=1, le=10_000_000, description="Open holds of an organization: what may expire all at once."
    )
    open_holds_per_caller_max: int = Field(
        20_000,
        ge=1,
        le=10_000_000,
        description="Open holds of one caller, so that it cannot use up the organization's.",
    )
    hold_share_percent_max: Amount = Field(
        Decimal(100),
        gt=0,
        le=100,
        description="Share of an enforced budget's cap that one hold may take. Less keeps one call from blocking all.",
    )
    hold_ttl_max_s: int = Field(
        86_400, ge=1, le=86_400, description="Longest ttl of Reserve and Extend: how long a dead caller holds money."
    )
    hold_life_max_s: int = Field(
        604_800,
        ge=1,
        le=31_536_000,
        description="How long Extend may keep a hold open, counted from Reserve; bounds extensions, but no heartbeat.",
    )
    labels_max: int = Field(32, ge=0, le=32, description="Labels of a call; each is kept with every execution.")
    text_length_max: int = Field(
        128, ge=1, le=128, description="Characters of an id or name; each is in several rows and indexes."
    )
    connections_max: int = Field(
        10_000, ge=1, le=1_000_000, description="Connections at a time; each takes some 20 kB and a file descriptor."
    )
    ping_interval_min_s: float = Field(
        10, ge=0, le=3600, description="Pings that come faster are answered with GOAWAY after the second strike."
    )
    connection_idle_max_s: float = Field(
        300,
        ge=1,
        le=86_400,
        description="A connection without a call for so long is closed: idle ones hold a descriptor, and clients "
        "reconnect unnoticed.",
    )
    connection_age_max_s: float = Field(
        3600,
        ge=1,
        le=86_400,
        description="A connection is asked to end at this age, and calls under way may: so that a client certificate "
        "which has expired is seen, and load spreads.",
    )
    message_bytes_max: int = Field(
        65_536, ge=1024, le=4_194_304, description="A request's size; the largest valid one is about 45 kB."
    )
    concurrent_streams_max: int = Field(
        4096, ge=1, le=1_000_000, description="Calls under way on one connection; the queue is bounded besides."
    )
    override_requests_max: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Overrides of an organization that wait for approval, at most a tenth of them one caller's: "
        "what admins can look at.",
    )
    overrides_max: int = Field(
        100,
        ge=1,
        le=1000,
        description="Overrides of an organization in force: what a call without room is measured against.",
    )
    override_second_admin_above: Amount | None = Field(
        None,
        description="Overrides of more than this, with what the admin has granted alone, wait for a second admin. "
        "Unset: one is enough.",
    )
    allow_budget_override: bool = Field(
        False,
        validation_alias=AliasChoices("GATEKEEPER_ALLOW_BUDGET_OVERRIDE", "ALLOW_BUDGET_OVERRIDE"),
        description="Turn an override of every organization on at start, one at a time and a day. Logged as a warning.",
    )
    start_override_max: Amount = Field(
        Decimal(100), gt=0, description="The most that the override at start pays, of each organization."
    )
    start_override_ttl_s: int = Field(
        86_400, ge=1, le=2_678_400, description="How long the override at start lasts; then calls stop at caps again."
    )
    rollup_interval_s: float = Field(
        10,
        ge=0.05,
        le=3600,
        description="How often executions are added up for reports; reports count the newer ones one by one.",
    )
    breaker_per_minute_max: Amount | None = Field(
        None, description="A run or agent that spends more in a minute is frozen, and an alert sent. Unset: none is."
    )
    breaker_times_normal: float | None = Field(
        None,
        gt=1,
        le=10_000,
        description="A run or agent that spends so many times its normal of the last hour in a minute is frozen, "
        "and an alert sent. Unset: none is.",
    )
    breaker_interval_s: float = Field(
        5, ge=0.1, le=60, description="How often the breaker looks: how long a runaway spends on."
    )
    burn_rate_interval_s: float = Field(
        60, ge=0.1, le=3600, description="How often it is predicted whether budgets last until their period ends."
    )
    alert_log: bool = Field(True, description="Tell alerts in the log file, below the folder for logs.")
    alert_webhook_url: SecretStr | None = Field(
        None, description="Where alerts are posted as signed JSON (standardwebhooks.com)."
    )
    alert_webhook_secret_file: Path | None = Field(
        None, description="File with the secret that signs them, whsec_… or any 24 bytes; needed with the URL."
    )
    alert_apprise_file: Path | None = Field(
        None, description="File with an Apprise URL a line (Slack, mail, …); needs the extra notify."
    )
    alert_interval_s: float = Field(
        1, ge=0.05, le=60, description="How often it is looked for alerts to deliver: how late one leaves."
    )
    alert_timeout_s: float = Field(
        10, gt=0, le=60, description="How long a channel may take for one alert before that counts as failed."
    )
    alert_attempts_max: int = Field(
        16,
        ge=1,
        le=100,
        description="Attempts at one alert and channel, some six hours, before it is given up as dead.",
    )
    alert_retry_s: float = Field(
        5, ge=0.01, le=3600, description="Pause before the second attempt; it doubles up to an hour."
    )
    seller_name: SellerText = Field("", max_length=200, description="Legal name of who bills, for invoices.")
    seller_address: SellerLines = Field(
        "", max_length=500, description="Street and number, and what else goes above the city; lines."
    )
    seller_city: SellerText = Field("", max_length=100, description="The biller's city.")
    seller_postal_code: SellerText = Field("", max_length=20, description="The biller's postal code.")
    seller_country: str = Field("", pattern="^([A-Z]{2})?$", description="The biller's country, like DE.")
    seller_vat_id: str = Field(
        "", pattern="^([A-Z]{2}[0-9A-Z+*.]{2,18})?$", description="The biller's VAT id with its country, DE123456789."
    )
    seller_email: SellerText = Field("", max_length=254, description="Where to write to about an invoice.")
    invoice_accent: str = Field(
        "#0f766e", pattern="^#[0-9A-Fa-f]{6}$", description="Colour of an invoice's headings, as #rrggbb."
    )
    invoice_logo_file: Path | None = Field(
        None, description="PNG that invoices show, at most 256 kB: each invoice keeps its own."
    )
    invoice_footer: SellerLines = Field(
        "", max_length=500, description="What stands at the foot of each page: bank, register, …"
    )
    invoice_empty_months: bool = Field(
        True, description="Issue an invoice over 0 for a month without executions. Off: FAILED_PRECONDITION."
    )
    http_listen: str | None = Field(
        None, description="HOST:PORT for /metrics, /healthz and /readyz over HTTP. Unset: no HTTP, and no metrics."
    )
    http_open: bool = Field(
        False, description="Let http_listen be off loopback: whoever reaches it reads names and use of budgets."
    )
    metrics_budgets_max: int = Field(
        200, ge=0, le=10_000, description="Budgets with metrics of their own, the fullest: each is several time series."
    )
    watch_streams_max: int = Field(
        1000, ge=1, le=100_000, description="Streams of WatchStatus in this process; each takes some 20 kB."
    )
    verify_interval_s: int = Field(
        86_400,
        ge=0,
        le=2_678_400,
        description="How often one of the servers verifies the ledger and the audit trail by itself; 0: never.",
    )
    verify_at: str = Field(
        "03:00", pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$", description="When, in UTC, for an interval of whole days."
    )
    log_calls: Literal["all", "failed", "none"] = Field(
        "all", description="Calls with a line in the log: all, those without a verdict, or none."
    )
    otel: bool = Field(
        False, description="Send a span of each call by OTLP (OTEL_EXPORTER_OTLP_ENDPOINT, …); needs the extra otel."
    )
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="The least severe events to log."
    )
    log_format: str = Field("auto", pattern="^(auto|json|console)$", description="console on a terminal, else json.")

    @model_validator(mode="after")
    def _start_override_needs_no_second(self) -> Settings:
        """Refuse an override at start that no single admin could grant."""
        most = self.override_second_admin_above
        if self.allow_budget_override and most is not None and self.start_override_max > most:
            message = (
                f"GATEKEEPER_START_OVERRIDE_MAX={self.start_override_max} must be at most"
                f" GATEKEEPER_OVERRIDE_SECOND_ADMIN_ABOVE={most} where ALLOW_BUDGET_OVERRIDE is on:"
                " nobody approves the override at start"
            )
            raise ValueError(message)
        return self

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
