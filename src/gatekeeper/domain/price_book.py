"""What does a price book hold, and which of its models does a model string mean?

The order in which a model is looked for is that of the library genai-prices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self

from .model_match import Clause, dash_dates
from .price_documents import (
    Document,
    check_keys,
    read_decimal,
    read_part,
    read_text,
    write_decimal,
)
from .rates import DatedRates, check_rate

# The key that stands for every agent type without one of its own.
ANY_AGENT_TYPE = "*"
# The limit of other rates, for a thousand tokens instead of a million.
AGENT_TYPE_RATE_LIMIT = Decimal(100)

_MODEL_KEYS = frozenset(("name", "match", "prices"))
_PROVIDER_KEYS = frozenset(("id", "model_match", "provider_match", "fallbacks", "models"))
_BOOK_KEYS = frozenset(("version", "models", "providers", "agent_types"))
_QUALIFIER_END = re.compile("[/:]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedModel:
    """A model: which model strings mean it, and its rates, later ones taking precedence."""

    name: str
    match: Clause
    prices: tuple[DatedRates, ...]

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read `{"name": "…", "match": {"equals": "…"}, "prices": [{"input": "3"}]}`."""
        check_keys(document, _MODEL_KEYS)
        return cls(
            name=read_text(document["name"]),
            match=Clause.from_document(document["match"]),
            prices=tuple(map(DatedRates.from_document, document["prices"])),
        )

    def to_document(self) -> dict[str, Any]:
        """Write what `from_document` reads."""
        return {
            "name": self.name,
            "match": self.match.to_document(),
            "prices": [dated.to_document() for dated in self.prices],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A seller of models.

    `model_match` says which plain model strings mean one of its models, `provider_match` by
    which other names it goes, `fallbacks` the ids of the providers whose models it sells too.
    """

    id: str
    models: tuple[PricedModel, ...]
    model_match: Clause | None = None
    provider_match: Clause | None = None
    fallbacks: tuple[str, ...] = ()

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read `{"id": "…", "model_match": {…}, "models": [{…}, …], …}`."""
        check_keys(document, _PROVIDER_KEYS)
        return cls(
            id=read_text(document["id"]),
            models=_read_models(document["models"]),
            model_match=_read_clause(document.get("model_match")),
            provider_match=_read_clause(document.get("provider_match")),
            fallbacks=tuple(document.get("fallbacks", ())),
        )

    def to_document(self) -> dict[str, Any]:
        """Write what `from_document` reads."""
        document: dict[str, Any] = {"id": self.id}
        for key in ("model_match", "provider_match"):
            if (clause := getattr(self, key)) is not None:
                document[key] = clause.to_document()
        if self.fallbacks:
            document["fallbacks"] = list(self.fallbacks)
        document["models"] = [model.to_document() for model in self.models]
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """An immutable set of prices under one version.

    `models` are tried first, on the whole model string: an organization's own book needs no
    providers. `agent_types` are USD per thousand tokens; ANY_AGENT_TYPE stands for the rest.
    """

    version: str
    models: tuple[PricedModel, ...] = ()
    providers: tuple[Provider, ...] = ()
    agent_types: Mapping[str, Decimal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the limits of the agent types' rates."""
        for rate in self.agent_types.values():
            check_rate(rate, AGENT_TYPE_RATE_LIMIT)

    def find(self, model: str) -> PricedModel | None:
        """Find the model that a string such as `gpt-5` or `openai/gpt-5` means.

        A string means what the library genai-prices takes it for without being told a provider.
        What it then would not know is read as `provider/model` or `provider:model`.
        """
        ref = model.lower()
        return _first_match((self.models,), ref) or self._of_matching_provider(ref) or self._of_named_provider(ref)

    def rate_of_agent_type(self, agent_type: str) -> Decimal | None:
        """Give USD per thousand tokens; letter case does not matter."""
        rate = self.agent_types.get(agent_type.lower())
        return self.agent_types.get(ANY_AGENT_TYPE) if rate is None else rate

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read `{"version": "…", "models": […], "providers": […], "agent_types": {…}}`.

        All but the version may be absent. ValueError says what is wrong and where.
        """
        return read_part(cls._read, document, "version")

    def to_document(self) -> dict[str, Any]:
        """Write what `from_document` reads, as JSON can hold it."""
        return {
            "version": self.version,
            "models": [model.to_document() for model in self.models],
            "providers": [provider.to_document() for provider in self.providers],
            "agent_types": {name: write_decimal(rate) for name, rate in self.agent_types.items()},
        }

    @classmethod
    def _read(cls, document: Document) -> Self:
        check_keys(document, _BOOK_KEYS)
        return cls(
            version=read_text(document["version"]),
            models=_read_models(document.get("models", ())),
            providers=tuple(
                read_part(Provider.from_document, provider, "id") for provider in document.get("providers", ())
            ),
            agent_types={name.lower(): read_decimal(rate) for name, rate in document.get("agent_types", {}).items()},
        )

    def _of_matching_provider(self, ref: str) -> PricedModel | None:
        """Ask the one provider that a plain model string points to."""
        for provider in self.providers:
            if provider.model_match is not None and provider.model_match.matches(ref):
                return self._sold_by(provider, ref)
        return None

    def _of_named_provider(self, ref: str) -> PricedModel | None:
        """Ask the provider that the string names before its first slash or colon."""
        name, *rest = _QUALIFIER_END.split(ref, maxsplit=1)
        provider = self._provider_named(name.strip()) if name and rest else None
        return self._sold_by(provider, rest[0]) if provider is not None else None

    def _provider_named(self, name: str) -> Provider | None:
        for provider in self.providers:
            if provider.id == name:
                return provider
        for provider in self.providers:
            if provider.provider_match is not None and provider.provider_match.matches(name):
                return provider
        return None

    def _sold_by(self, provider: Provider, ref: str) -> PricedModel | None:
        others = (
            next((other.models for other in self.providers if other.id == fallback), ())
            for fallback in provider.fallbacks
        )
        return _first_match((provider.models, *others), ref)


def _first_match(groups: Iterable[tuple[PricedModel, ...]], ref: str) -> PricedModel | None:
    """Find the first model that means `ref`, or else `ref` with its dates written with dashes."""
    groups = tuple(groups)
    for spelling in dict.fromkeys((ref, dash_dates(ref))):
        for models in groups:
            for model in models:
                if model.match.matches(spelling):
                    return model
    return None


def _read_models(documents: Iterable[Document]) -> tuple[PricedModel, ...]:
    return tuple(read_part(PricedModel.from_document, each, "name") for each in documents)


def _read_clause(document: Document | None) -> Clause | None:
    return None if document is None else Clause.from_document(document)
