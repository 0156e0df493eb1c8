"""Who bills, and how do invoices look? As the settings say; a logo is read, and looked at, once."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

from gatekeeper.domain.errors import InvalidField
from gatekeeper.domain.invoices import Branding, Party
from gatekeeper.services.invoices import Letterhead
from gatekeeper.settings import Settings

LOGO_SETTING = "GATEKEEPER_INVOICE_LOGO_FILE"
# Each invoice keeps its logo, and shows it some centimetres wide.
LOGO_BYTES_MAX = 256 * 1024
# What such a file may unfold to: four million points.
LOGO_POINTS_MAX = 4_000_000
PNG = b"\x89PNG\r\n\x1a\n"


def letterhead(settings: Settings) -> Letterhead:
    """Return who bills, and how. Raises `InvalidField` for a logo that cannot be shown."""
    path = settings.invoice_logo_file
    return Letterhead(
        seller=Party(
            legal_name=settings.seller_name,
            address=settings.seller_address,
            city=settings.seller_city,
            postal_code=settings.seller_postal_code,
            country=settings.seller_country,
            vat_id=settings.seller_vat_id,
            email=settings.seller_email,
        ),
        branding=Branding(
            accent=settings.invoice_accent.lower(),
            logo_base64="" if path is None else base64.b64encode(_read_logo(path)).decode(),
            footer=settings.invoice_footer,
        ),
    )


def _read_logo(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            logo = file.read(LOGO_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidField(field=LOGO_SETTING, problem=f"{path}: {error.strerror or 'it cannot be read'}") from error
    if len(logo) > LOGO_BYTES_MAX:
        raise InvalidField(field=LOGO_SETTING, problem=f"{path}: it is longer than {LOGO_BYTES_MAX:,} bytes")
    if not _is_png(logo):
        raise InvalidField(
            field=LOGO_SETTING, problem=f"{path}: it is no whole PNG of up to {LOGO_POINTS_MAX:,} points"
        )
    return logo


def _is_png(logo: bytes) -> bool:
    """Tell whether bytes are a PNG from its first chunk to its last, and not too large."""
    if not logo.startswith(PNG):
        return False
    place, kinds = len(PNG), []
    while place + 12 <= len(logo):
        (length,) = struct.unpack_from(">I", logo, place)
        body = logo[place + 4 : place + 8 + length]
        if logo[place + 8 + length : place + 12 + length] != struct.pack(">I", zlib.crc32(body)):
            return False
        kinds.append(body[:4])
        place += 12 + length
    if kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or b"IDAT" not in kinds or place != len(logo):
        return False
    width, height = struct.unpack_from(">II", logo, len(PNG) + 8)
    points: int = width * height
    return 0 < points <= LOGO_POINTS_MAX
