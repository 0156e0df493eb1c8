"""Do settings become channels, or an error that names the setting and no secret?"""

from __future__ import annotations

import asyncio
import base64
import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.alerting import webhook
from gatekeeper.alerting.apprise import harmless
from gatekeeper.alerting.channels import Channel, channels_of
from gatekeeper.alerting.failures import ChannelUnusable, DeliveryFailed
from gatekeeper.alerting.secret_files import FILE_BYTES_MAX
from gatekeeper.domain.breaker import COMMAND_SIGN
from tests.integration.alert_receiver import SECRET, notice, receiving, secret_file

# Apprise's mail asks for a module of Python 3.11 that later ones do not have.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

URL = "https://user:sesame@hooks.example.com/sesame"


def channels(tmp_path: Path, **settings: Any) -> list[Channel]:
    named: dict[str, Any] = {"webhook_url": None, "webhook_secret_file": None, "apprise_file": None}
    named |= {"logs_dir": tmp_path, "timeout_s": 1, "installation": "an-installation"}
    return [*channels_of(**named | settings)]


def refused(tmp_path: Path, **settings: Any) -> str:
    """Return why these settings are refused, having seen that no secret is in that."""
    with pytest.raises(ChannelUnusable) as raised:
        channels(tmp_path, **settings)
    assert "sesame" not in f"{raised.value} {raised.value.metadata}"
    return str(raised.value)


def test_the_log_file_is_there_unless_switched_off(tmp_path: Path) -> None:
    """Without any setting, alerts are told in a file, which is made when there is one."""
    (log,) = channels(tmp_path)
    assert log.name == "log"
    asyncio.run(log.check())
    assert [*tmp_path.iterdir()] == []
    assert channels(tmp_path, logs_dir=None) == []


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """It is known without an alert, in words without a path."""
    (tmp_path / "file").touch()
    (log,) = channels(tmp_path, logs_dir=tmp_path / "file")
    with pytest.raises(DeliveryFailed, match="Not a directory"):
        asyncio.run(log.check())


BY_NAME = "gatekeeper cap AMOUNT --organization acme --run {} --window total --thaw"


@pytest.mark.parametrize("name", ["r1", "'night'\"'\"'s run'", "'a To let it go on: b'"])
def test_a_command_stays_as_it_is(name: str) -> None:
    """Whoever pastes it into a shell thaws what was frozen."""
    message = f"The run 'x' is frozen.{COMMAND_SIGN}{BY_NAME.format(name)}"
    assert harmless(message) == message


@pytest.mark.parametrize("name", ["'@everyone'", "'a<b'", "'a>b'", "'a To let it go on: @b'"])
def test_a_command_that_would_be_another_is_left_out(name: str) -> None:
    """With other characters it would be about another run, or none."""
    assert harmless(f"The run '@x' is frozen.{COMMAND_SIGN}{BY_NAME.format(name)}") == "The run '\uff20x' is frozen."


def test_channels_have_names_without_addresses(tmp_path: Path) -> None:
    """Apprise's are numbered as their URLs stand in the file, without blank lines and comments."""
    secret, urls = tmp_path / "a", tmp_path / "b"
    secret.mkdir()
    urls.mkdir()
    named = channels(
        tmp_path,
        webhook_url=URL,
        webhook_secret_file=secret_file(secret, SECRET.decode()),
        apprise_file=secret_file(urls, "# people", "json://127.0.0.1:1/", "", "mailto://u:sesame@example.com"),
    )
    assert [channel.name for channel in named] == ["log", "webhook", "apprise-1", "apprise-2"]


@pytest.mark.parametrize("url", ["", "sesame", "ftp://sesame/", "https://", "http:///sesame", "https://sesame:port/"])
def test_a_webhook_needs_a_url(tmp_path: Path, url: str) -> None:
    """What is none is refused without repeating it."""
    file = secret_file(tmp_path, SECRET.decode())
    why = refused(tmp_path, webhook_url=url, webhook_secret_file=file)
    assert why == (
        "Alerts cannot be sent as GATEKEEPER_ALERT_WEBHOOK_URL says: it takes https://HOST/… or http://HOST/…."
    )


def test_a_webhook_needs_a_secret(tmp_path: Path) -> None:
    """Nobody could tell who sends it."""
    assert "needs GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE" in refused(tmp_path, webhook_url=URL)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ((), "it is empty"),
        (("# nothing",), "it is empty"),
        (("sesame",), "at least 24 bytes"),
        (("whsec_" + base64.b64encode(b"sesame").decode(),), "at least 24 bytes"),
        (("whsec_sesame!sesame!sesame!sesame!sesame!",), "whsec_ takes base64"),
        (("\n" * FILE_BYTES_MAX, "sesame"), "longer than"),
    ],
)
def test_a_secret_has_to_be_one(tmp_path: Path, lines: tuple[str, ...], problem: str) -> None:
    """Too short a one, or none, is refused."""
    why = refused(tmp_path, webhook_url=URL, webhook_secret_file=secret_file(tmp_path, *lines))
    assert "GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE" in why
    assert problem in why


def test_secrets_are_bytes_or_base64(tmp_path: Path) -> None:
    """Behind `whsec_` base64, else the very text; one a line."""
    encoded = base64.b64encode(SECRET).decode()
    file = secret_file(tmp_path, f"whsec_{encoded}", encoded)
    assert webhook.read_secrets(file) == [SECRET, encoded.encode()]


@pytest.mark.parametrize("setting", ["webhook_secret_file", "apprise_file"])
def test_files_have_to_be_the_servers_alone(tmp_path: Path, setting: str) -> None:
    """One that is missing, no file, no text or everybody's is refused by its name."""
    file = secret_file(tmp_path, SECRET.decode())
    named: dict[str, Any] = {setting: file}
    if setting == "webhook_secret_file":
        named["webhook_url"] = URL
    file.chmod(0o640)
    assert "run `chmod 600`" in refused(tmp_path, **named)
    file.chmod(0o600)
    file.write_bytes(b"\xff" * 30)
    assert f"{file}: it is no UTF-8" in refused(tmp_path, **named)
    assert "no regular file" in refused(tmp_path, **named | {setting: tmp_path})
    file.unlink()
    assert f"{file}: No such file or directory" in refused(tmp_path, **named)


@pytest.mark.parametrize(
    ("name", "value"), [("ALL_PROXY", "socks5://sesame:1"), ("HTTPS_PROXY", "sesame://x"), ("SSL_CERT_FILE", "/sesame")]
)
def test_the_environment_may_be_unusable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A proxy that cannot be used is found at start, and its password not told."""
    monkeypatch.setenv(name, value)
    file = secret_file(tmp_path, SECRET.decode())
    why = refused(tmp_path, webhook_url=URL, webhook_secret_file=file)
    assert "the proxy or SSL_CERT_FILE of the environment cannot be used" in why


@pytest.mark.parametrize("line", ["sesame", "sesame://host", "slack://sesame", "mailto://", "json://"])
def test_urls_have_to_be_apprises(tmp_path: Path, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One that Apprise does not know is told by its number, and nothing else is said about it."""
    file = secret_file(tmp_path, "json://127.0.0.1:1/", line)
    assert f"{file}: Apprise can make nothing of URL 2" in refused(tmp_path, apprise_file=file)
    assert capfd.readouterr() == ("", "")


def test_nobody_is_called_by_a_name_or_reason(tmp_path: Path) -> None:
    """What agents say cannot mention a room in a chat; a program reads it as it is."""
    called = "<!channel> @everyone <https://example.com|look>"
    with receiving() as chat, receiving() as hook:
        secret, urls = tmp_path / "a", tmp_path / "b"
        secret.mkdir()
        urls.mkdir()
        _, posted, apprised = channels(
            tmp_path,
            webhook_url=f"http://{hook.place}/",
            webhook_secret_file=secret_file(secret, SECRET.decode()),
            apprise_file=secret_file(urls, f"json://{chat.place}/"),
        )
        for channel in (posted, apprised):
            asyncio.run(channel.deliver(notice(message=called)))
    (shown,), (read,) = ([json.loads(post.body) for post in place.posts] for place in (chat, hook))
    assert shown["message"].startswith("\u2039!channel\u203a \uff20everyone \u2039https://example.com|look\u203a\n")
    assert read["data"]["message"] == called


def test_no_urls_are_no_channel(tmp_path: Path) -> None:
    """A file without one is refused: somebody expects to be told."""
    assert "it takes 1 to 50 URLs" in refused(tmp_path, apprise_file=secret_file(tmp_path, "# later"))
    too_many = ["json://127.0.0.1:1/"] * 51
    assert "it takes 1 to 50 URLs" in refused(tmp_path, apprise_file=secret_file(tmp_path, *too_many))


def test_the_extra_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Apprise, its file is refused with what to install."""
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "apprise" or (args[2:] and "apprise" in (args[2] or ()) and name == ""):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    file = secret_file(tmp_path, "json://127.0.0.1:1/")
    assert "pip install 'budget-gatekeeper[notify]'" in refused(tmp_path, apprise_file=file)
