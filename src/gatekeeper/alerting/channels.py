"""On which channels are alerts told? In the log file and elsewhere, as the settings say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gatekeeper.domain.alert_deliveries import Notice

from .failures import ChannelUnusable
from .log_file import LogFile

# What libraries log quotes addresses, with what is secret in them.
LOQUACIOUS = ("apprise", "httpcore", "httpx", "requests", "urllib3")


class Channel(Protocol):
    """A way to tell people. `name` is shown; `at_once` is how many alerts it takes at a time."""

    @property
    def name(self) -> str:
        """What it is called, without an address or a secret."""

    @property
    def at_once(self) -> int:
        """How many alerts it takes at a time."""

    def is_busy(self) -> bool:
        """Tell whether an attempt that was given up has not come back: what is begun now would not be tried."""

    async def check(self) -> None:
        """Raise an error where it is known without an attempt that none can succeed."""

    async def deliver(self, notice: Notice) -> None:
        """Tell of an alert; whatever is raised is a failure. May be cancelled at any time."""


def channels_of(
    *,
    logs_dir: Path | None,
    webhook_url: str | None,
    webhook_secret_file: Path | None,
    apprise_file: Path | None,
    timeout_s: float,
    installation: str,
) -> Sequence[Channel]:
    """Return the channels of these settings; without `logs_dir`, no log file.

    `timeout_s` is after how long an attempt is given up, `installation` what ids that leave it begin with. Raises
    `ChannelUnusable`, which names the setting and holds no secret.
    """
    channels: list[Channel] = []
    if logs_dir is not None:
        channels.append(LogFile(logs_dir, timeout_s))
    if webhook_url is not None:
        channels.append(_webhook(webhook_url, webhook_secret_file, installation))
    if apprise_file is not None:
        channels += _apprise(apprise_file, timeout_s)
    return channels


def _webhook(url: str, secret_file: Path | None, installation: str) -> Channel:
    _silence()
    from . import webhook

    if secret_file is None:
        problem = f"it needs {webhook.SECRET_SETTING}, so that its receiver knows who sends"
        raise ChannelUnusable(setting=webhook.URL_SETTING, problem=problem)
    return webhook.Webhook(url, webhook.read_secrets(secret_file), installation)


def _apprise(path: Path, timeout_s: float) -> Sequence[Channel]:
    _silence()
    try:
        from . import apprise
    except ImportError as error:
        problem = "it needs Apprise: pip install 'budget-gatekeeper[notify]'"
        raise ChannelUnusable(setting="GATEKEEPER_ALERT_APPRISE_FILE", problem=problem) from error
    return apprise.read_channels(path, timeout_s)


def _silence() -> None:
    """Let nothing that these libraries log reach standard error, at any level."""
    for name in LOQUACIOUS:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
