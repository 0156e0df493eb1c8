"""Is what invoices show of who bills what the settings say, and is a logo refused that could not be shown?"""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from gatekeeper.domain.errors import InvalidField
from gatekeeper.letterhead import LOGO_BYTES_MAX, letterhead
from gatekeeper.settings import load_settings


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(width: int = 1, height: int = 1, padding: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    points = zlib.compress(b"\0\0")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"tEXt", b"x" * padding), chunk(b"IDAT", points), chunk(b"IEND"))
    )


def test_it_is_what_the_settings_say(tmp_path: Path) -> None:
    """The seller's name and places, and the branding with the logo's own bytes."""
    logo = tmp_path / "logo.png"
    logo.write_bytes(png())
    shown = letterhead(
        load_settings(
            seller_name="Gate & Co",
            seller_country="DE",
            seller_address="A\nB",
            invoice_accent="#AABBCC",
            invoice_logo_file=logo,
        )
    )
    assert (shown.seller.legal_name, shown.seller.country, shown.seller.address) == ("Gate & Co", "DE", "A\nB")
    assert (shown.branding.accent, base64.b64decode(shown.branding.logo_base64)) == ("#aabbcc", png())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        (b"GIF89a", "no whole PNG"),
        (png()[:-1], "no whole PNG"),
        (png().replace(b"IDAT", b"JDAT"), "no whole PNG"),
        (png(width=100_000, height=100_000), "no whole PNG"),
        (png(width=0), "no whole PNG"),
        (b"\x89PNG\r\n\x1a\n", "no whole PNG"),
        (png(padding=LOGO_BYTES_MAX), "longer than 262,144 bytes"),
    ],
)
def test_a_logo_that_cannot_be_shown(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """It is refused at start, with the setting's name."""
    logo = tmp_path / "logo.png"
    if content is not None:
        logo.write_bytes(content)
    with pytest.raises(InvalidField, match=f"^GATEKEEPER_INVOICE_LOGO_FILE: .*{problem}"):
        letterhead(load_settings(invoice_logo_file=logo))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seller_name", "two\nlines"),
        ("seller_name", "\udcff"),
        ("seller_address", "a\tb"),
        ("seller_country", "Germany"),
        ("seller_vat_id", "123"),
        ("invoice_accent", "green"),
        ("invoice_footer", "x" * 501),
    ],
)
def test_what_no_page_could_show(name: str, value: str) -> None:
    """It is refused by the name of its setting."""
    with pytest.raises(ValidationError) as refused:
        load_settings(**{name: value})
    assert [error["loc"] for error in refused.value.errors()] == [(name,)]
