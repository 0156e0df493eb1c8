"""The budget gatekeeper: the authority that AI agents ask before they spend money on a language model."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
