"""The command that tells a month in Markdown, and what would save money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from .connection import open_client
from .months import MONTH_TIMEOUT_S, LastMonth, Output, write_whole
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile
from .output import print_json
from .statuses import amount_text

if TYPE_CHECKING:
    from gatekeeper_client.v1.spend_pb2 import Recommendation


def report(
    period: LastMonth = "",
    *,
    organization: Organization,
    output: Output = None,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell a month in Markdown: what it cost, by whom, what was denied, and what would save money.

    With --json, the recommendations come apart as well.
    """
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        found = client.get_monthly_report(organization, period=period, timeout_s=MONTH_TIMEOUT_S)
    if output is not None:
        write_whole(output, found.markdown)
    if as_json:
        recommendations = [recommendation_document(made) for made in found.recommendations]
        print_json(
            {
                "organization": organization,
                "period": found.period,
                "markdown": found.markdown,
                "recommendations": recommendations,
            }
        )
    elif output is None:
        typer.echo(found.markdown, nl=False)
    else:
        typer.echo(f"The report of {found.period} is in {output}.")


def recommendation_document(made: Recommendation) -> dict[str, Any]:
    """Return a recommendation for programs: amounts are strings."""
    from gatekeeper_client.v1.spend_pb2 import RecommendationRule

    return {
        "rule": RecommendationRule.Name(made.rule).removeprefix("RECOMMENDATION_RULE_"),
        "subject": made.subject,
        "message": made.message,
        "saving": amount_text(made.saving),
        "currency": made.saving.currency_code,
    }
