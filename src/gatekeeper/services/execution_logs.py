"""Which executions do people find in logs? Those that were blocked, and those that an override let through."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gatekeeper.domain.audit import AuditAction, AuditSource, Content
from gatekeeper.storage.audit_chain import Unchained

from .markdown_log import Layout, MarkdownLog, amount_cell, instant_cell, name_cell

INTRODUCTION = """{what}, oldest first; `gatekeeper audit --action {action}` lists them with everything that is
known. Amounts are in the organization's currency. In names, ¦ stands for a pipe and ' for a backtick."""


class ExecutionLogs:
    """Appends what was chained to `blocked-executions.md` and `override-executions.md` in `<logs_dir>/budget`."""

    def __init__(self, logs_dir: Path) -> None:
        """Write below this folder, from the first of either on."""
        self._blocked = MarkdownLog(logs_dir, BLOCKED)
        self._overrides = MarkdownLog(logs_dir, OVERRIDES)

    async def write(self, chained: Sequence[Unchained]) -> None:
        """Append the denials and the uses of overrides among rows of the audit trail."""
        await self._blocked.write([row.content for row in chained if row.source is AuditSource.DENIAL])
        await self._overrides.write([row.content for row in chained if _is_use(row)])


def _is_use(row: Unchained) -> bool:
    return row.source is AuditSource.EVENT and row.content["action"] == AuditAction.OVERRIDE_USED


CALL_COLUMNS = ("Time (UTC)", "Organization", "Campaign", "Agent", "Run", "Model")


def _call_cells(instant: str | None, organization: str | None, call: Content) -> Sequence[str]:
    """Return what stands in the CALL_COLUMNS."""
    names = (organization, *(call.get(name) for name in ("campaign", "agent", "run", "model")))
    return (instant_cell(instant), *map(name_cell, names))


def _blocked_cells(denial: Content) -> Sequence[str]:
    return (
        *_call_cells(denial["denied_at"], denial["organization"], denial),
        denial["reason"] or "",
        amount_cell(denial["requested"]),
        amount_cell(denial["shortfall"]),
        name_cell(_budget(denial)),
        name_cell(denial["actor"]),
        name_cell(denial["reservation_id"]),
    )


def _budget(denial: Content) -> str:
    if not denial["scope_kind"]:
        return ""
    scope = f"{denial['scope_kind'].lower()} {denial['scope_id'] or ''}".strip()
    return f"{scope}, {(denial['budget_window'] or '').lower()} {denial['period']}"


def _override_cells(event: Content) -> Sequence[str]:
    use = json.loads(event["after"] or "{}")
    return (
        *_call_cells(event["occurred_at"], event["organization"], use),
        amount_cell(use.get("amount")),
        amount_cell(use.get("beyond")),
        name_cell(use.get("override_id")),
        name_cell(event["reason"]),
        name_cell(event["actor"]),
        name_cell(use.get("reservation_id")),
    )


BLOCKED = Layout(
    file_name="blocked-executions.md",
    title="Blocked executions",
    introduction=INTRODUCTION.format(what="Calls that were not admitted", action="CALL_DENIED"),
    columns=(
        *CALL_COLUMNS,
        "Reason",
        "Requested",
        "Shortfall",
        "Budget",
        "Caller",
        "Reservation",
    ),
    cells=_blocked_cells,
)
OVERRIDES = Layout(
    file_name="override-executions.md",
    title="Override executions",
    introduction=INTRODUCTION.format(what="Calls that an override let past their caps", action="OVERRIDE_USED"),
    columns=(
        *CALL_COLUMNS,
        "Held",
        "Beyond the caps",
        "Override",
        "Why",
        "Caller",
        "Reservation",
    ),
    cells=_override_cells,
)
