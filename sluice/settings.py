"""Settings of every role. One name in three places: flag `--journal-url`, environment `SLUICE_JOURNAL_URL`, and
`journal_url` in the TOML file that `--config` or `SLUICE_CONFIG` names. Flags win over environment over file.
"""

import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from sluice.cassandra_client import cassandra_access
from sluice.host_port import split_host_port
from sluice.kafka_client import client_properties
from sluice.sharding import MAX_SHARDS
from sluice.stock_servers import stock_servers
from sluice.tls_files import TlsFiles, read_authorities, read_tls_files

CONFIG_FILE_VARIABLE = "SLUICE_CONFIG"

SECRETS_FILE = "With `?properties=FILE` behind them: a file of what TLS and logins need"


MAX_STOCK_WATCHES = 2_000
"""In one gateway. Of a hot SKU each is told four times a second: 8,000 messages, some tenths of a core."""

MAX_WATCHES = 5_000
"""Of orders, in one gateway: an open stream keeps about 25 KB."""


def _checked_host_port(value: str) -> str:
    split_host_port(value)
    return value


def _checked_kafka(value: str) -> str:
    client_properties(value)
    return value


def _checked_cassandra(value: str) -> str:
    cassandra_access(value)
    return value


Kafka = Annotated[str, AfterValidator(_checked_kafka)]
"""As in `sluice.kafka_client`."""

Cassandra = Annotated[str, AfterValidator(_checked_cassandra)]
"""As in `sluice.cassandra_client`."""

HostPort = Annotated[str, AfterValidator(_checked_host_port)]
"""`host:port`; port 0 picks a free one."""


class CommonSettings(BaseSettings):
    """What every role has."""

    model_config = SettingsConfigDict(env_prefix="SLUICE_", frozen=True, extra="ignore")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe log line shown")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else json")
    metrics_listen: HostPort = Field(
        "127.0.0.1:0", description="host:port of /metrics, /livez and /readyz; port 0 picks a free one"
    )
    drain_limit_s: float = Field(20.0, gt=0, description="after SIGTERM: longest wait for work in flight, seconds")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        path = os.environ.get(CONFIG_FILE_VARIABLE)
        if path and not Path(path).is_file():
            raise FileNotFoundError(f"{path} is not there")  # the source would pass over it in silence
        file = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *file)


class JournalSettings(CommonSettings):
    journal_url: SecretStr = Field(
        SecretStr("postgresql://127.0.0.1:5432/sluice"),
        description="PostgreSQL database of orders, spends, outbox; or several, comma separated, over which orders are "
        "divided: the same ones in the same order for every process, always",
    )
    journal_timeout_s: float = Field(
        1.5, gt=0, description="longest wait for one journal transaction, seconds; callers hear UNAVAILABLE within 2 s"
    )

    @property
    def journal_urls(self) -> Sequence[str]:
        """By number."""
        return parse_journal_urls(self.journal_url.get_secret_value())

    @field_validator("journal_url", mode="before")
    @classmethod
    def _may_be_a_list(cls, value: object) -> object:
        return ",".join(map(str, value)) if isinstance(value, list) else value

    @field_validator("journal_url")
    @classmethod
    def _urls_are_parsable(cls, value: SecretStr) -> SecretStr:
        parse_journal_urls(value.get_secret_value())
        return value


class CassandraSettings(CommonSettings):
    cassandra: Cassandra = Field(
        "127.0.0.1:9042", description=f"contact points, host:port, comma separated. {SECRETS_FILE}"
    )
    keyspace: str = Field(
        "sluice",
        pattern=r"^[a-z][a-z0-9_]{0,47}$",
        description="keyspace, made if it is not there; in Redis: what every key begins with",
    )
    replication_factor: int = Field(1, ge=1, le=9, description="copies of each ledger row in the data centre")
    local_dc: str = Field("datacenter1", description="home data centre of the SKUs that this process serves")


class StockStoreSettings(CassandraSettings):
    """Where the ledger is. All processes of a cluster must be told the same."""

    stock_store: Literal["cassandra", "redis"] = Field(
        "cassandra", description="where the ledger is; the same for every process of a cluster"
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="the ledger's Redis, if `stock_store` is `redis`: redis://[user:password@]host:port[/database]",
    )


class TlsSettings(CommonSettings):
    """TLS of the port that is listened on."""

    tls_certificate: str = Field(
        "",
        description="PEM file of the certificate that is shown, with those between it and an authority; empty: no TLS. "
        "Files that change are taken for new connections",
    )
    tls_key: str = Field("", validate_default=True, description="PEM file of its key, not encrypted")
    tls_client_ca: str = Field(
        "",
        description="PEM file of authorities: who has no certificate of one of them is not served; empty: everybody is",
    )

    @field_validator("tls_key")
    @classmethod
    def _key_is_the_certificates(cls, value: str, info: ValidationInfo) -> str:
        certificate = info.data.get("tls_certificate", "")
        if bool(value) != bool(certificate):
            raise ValueError("tls_certificate and tls_key are needed both, or neither")
        if value:
            read_tls_files(TlsFiles(Path(certificate), Path(value), None))
        return value

    @field_validator("tls_client_ca")
    @classmethod
    def _only_tls_knows_callers(cls, value: str, info: ValidationInfo) -> str:
        if value and not info.data.get("tls_certificate"):
            raise ValueError("without tls_certificate callers show no certificate")
        if value:
            read_authorities(Path(value))
        return value

    @property
    def tls(self) -> TlsFiles | None:
        if not self.tls_certificate:
            return None
        client_ca = Path(self.tls_client_ca) if self.tls_client_ca else None
        return TlsFiles(Path(self.tls_certificate), Path(self.tls_key), client_ca)


class FrontDoorSettings(TlsSettings):
    """What is served, and how much of it at once."""

    listen: HostPort = Field("127.0.0.1:50051", description="host:port of the public gRPC service")
    max_wait_s: float = Field(
        0.05,
        gt=0,
        description="of single calls, under overload: when more wait than are taken up in this long, seconds, the rest "
        "gets UNAVAILABLE / OVERLOADED",
    )
    crowd_s: float = Field(
        2.0,
        ge=0,
        description="overload is more calls than that for this long, seconds; before, they are a crowd that is served",
    )
    max_crowd: int = Field(
        3_000,
        ge=256,
        le=4_000,
        description="single calls that wait, in a crowd too, each in some 20 KB of memory; one more gets UNAVAILABLE / "
        "OVERLOADED at once",
    )
    max_orders_in_flight: int = Field(
        20_000, ge=1, description="orders being decided at once; one more gets UNAVAILABLE / OVERLOADED"
    )
    max_batches_in_flight: int = Field(
        8, ge=1, le=256, description="batches of one stream being decided at once; then the stream is not read"
    )
    max_stock_watches: int = Field(
        MAX_STOCK_WATCHES, ge=1, description="watches of stock open at once; one more gets UNAVAILABLE / OVERLOADED"
    )
    max_watches: int = Field(
        MAX_WATCHES, ge=1, description="watches of orders open at once; one more gets UNAVAILABLE / OVERLOADED"
    )


class GatewaySettings(FrontDoorSettings, JournalSettings, StockStoreSettings):
    journal_connections: int = Field(
        3, ge=1, le=64, description="connections that commit at once; more than three bought nothing on two cores"
    )
    stockd: str = Field(
        "stockd-0=127.0.0.1:7100", description=f"stock servers: name=host:port, comma separated. {SECRETS_FILE}"
    )
    kafka: Kafka = Field(
        "",
        description="bootstrap servers, host:port, comma separated, for orders that are to be queued; empty: they get "
        f"UNAVAILABLE. {SECRETS_FILE}",
    )
    reserve_limit_s: float = Field(
        1.6,
        gt=0,
        description="from an order's arrival until it must have its units, whichever stock servers are asked, seconds",
    )

    @field_validator("stockd")
    @classmethod
    def _stockd_is_parsable(cls, value: str) -> str:
        stock_servers(value)
        return value


class StockdSettings(JournalSettings, StockStoreSettings, TlsSettings):
    name: str = Field("stockd-0", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="stable name of this stock server")
    listen: HostPort = Field("127.0.0.1:7100", description="host:port of the internal gRPC service")
    reservation_grace_s: float = Field(
        3.0, gt=0, description="a reservation nobody settled is looked up in the journal after this long, seconds"
    )
    store_timeout_s: float = Field(
        1.2, gt=0, description="orders that wait for the ledger longer than this are told it is unreachable, seconds"
    )
    counter_refresh_s: float = Field(
        0.1,
        gt=0,
        description="SKUs with the policy counter: how old what is known of other servers' sales may be when units are "
        "granted, and how long sales may stay uncounted, seconds",
    )
    beat_interval_s: float = Field(
        1.0, gt=0, description="how often the journal is told that this stock server lives, seconds"
    )
    peer_dead_after_s: float = Field(
        10.0,
        gt=0,
        description="a stock server silent for this long is fenced by its peers and its units are taken back, seconds; "
        "at least 4 beats, and well above a pause of a busy machine: who is fenced while it lives must restart",
    )

    @field_validator("peer_dead_after_s")
    @classmethod
    def _some_beats_may_be_late(cls, value: float, info: ValidationInfo) -> float:
        beat_interval_s = info.data.get("beat_interval_s")
        if beat_interval_s is not None and value < 4 * beat_interval_s:
            raise ValueError("must be at least 4 times beat_interval_s, or one late beat looks like a death")
        return value


class RelaySettings(JournalSettings):
    kafka: Kafka = Field("127.0.0.1:9092", description=f"bootstrap servers, host:port, comma separated. {SECRETS_FILE}")
    partitions: int = Field(16, ge=1, le=4096, description="partitions of a topic that must be made; divides 4096")
    topic_replication_factor: int = Field(1, ge=1, le=9, description="copies of each partition of a topic made")

    @field_validator("partitions")
    @classmethod
    def _divides_the_slots(cls, value: int) -> int:
        if 4096 % value:
            raise ValueError("must divide 4096, so that slots spread evenly over partitions")
        return value


class ConsumerSettings(CommonSettings):
    """How Sluice's own consumers decide."""

    oversold_first: Literal["newest-first", "smallest-first", "lowest-priority-first"] = Field(
        "newest-first",
        description="compensation: which orders of a SKU with the policy counter are cancelled first when more was "
        "sold than there is; smallest: fewest units",
    )
    lifecycle_share: float = Field(
        0.2, gt=0, le=1, description="lifecycle: of the time it works at most; the rest is left to placing orders"
    )
    check_blocked_customers: str = Field(
        "", description="lifecycle: orders of these customers are cancelled; comma separated, empty: no such check"
    )
    check_max_order_age_s: float = Field(
        0, ge=0, description="lifecycle: orders that come to be checked later than this are cancelled; 0: no such check"
    )
    check_max_order_units: int = Field(
        0, ge=0, description="lifecycle: orders of more units are cancelled; 0: no such check"
    )


class ConsumeSettings(JournalSettings, StockStoreSettings, ConsumerSettings):
    stockd: str = Field(
        "stockd-0=127.0.0.1:7100", description=f"stock servers: name=host:port, comma separated. {SECRETS_FILE}"
    )
    kafka: Kafka = Field("127.0.0.1:9092", description=f"bootstrap servers, host:port, comma separated. {SECRETS_FILE}")
    topic_replication_factor: int = Field(1, ge=1, le=9, description="copies of each partition of a topic made")
    lanes: int = Field(
        16,
        ge=1,
        le=256,
        description="calls of one consumer's handler that run at once; a key is always in the same lane",
    )
    group_protocol: Literal["auto", "consumer", "classic"] = Field(
        "auto", description="how a consumer group shares partitions; auto: `consumer`, or `classic` before Kafka 4.0"
    )
    topics: str = Field("", description="what a handler of your own reads, comma separated")
    group: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
        description="consumer group of a handler of your own; empty: its name, with - instead of :",
    )

    @field_validator("stockd")
    @classmethod
    def _stockd_is_parsable(cls, value: str) -> str:
        stock_servers(value)
        return value


class EmbeddedSettings(FrontDoorSettings, ConsumerSettings):
    data_dir: Path = Field(Path(".sluice"), description="where the database files are")
    consumers: str = Field(
        "compensation,queue",
        description="which of lifecycle, compensation, projection and queue run in the process, comma separated",
    )


ALL_SETTINGS: tuple[type[CommonSettings], ...] = (
    GatewaySettings,
    StockdSettings,
    RelaySettings,
    ConsumeSettings,
    EmbeddedSettings,
)


def unknown_names(path: Path) -> list[str]:
    """Names in a TOML file that no role knows: misspelt, most likely. One file may serve all roles.

    Raises OSError, tomllib.TOMLDecodeError.
    """
    with path.open("rb") as file:
        given = tomllib.load(file)
    return sorted(given.keys() - {name for kind in ALL_SETTINGS for name in kind.model_fields})


def parse_journal_urls(value: str) -> Sequence[str]:
    """Comma-separated URLs apart. A comma within one, between hosts, is left alone. Raises ValueError."""
    urls = re.split(r"\s*,\s*(?=postgres(?:ql)?://)", value.strip())
    if len(set(urls)) < len(urls):
        raise ValueError("a database is named twice")
    if len(urls) > MAX_SHARDS:
        raise ValueError(f"at most {MAX_SHARDS} databases")
    return urls
