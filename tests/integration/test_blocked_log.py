"""Does the log of blocked executions say what was denied, and nothing that a reader's screen would act on?"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import structlog
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gatekeeper.domain.audit import Content
from gatekeeper.services import markdown_log
from gatekeeper.services.audit_chain import chain
from gatekeeper.services.execution_logs import BLOCKED, ExecutionLogs
from gatekeeper.services.markdown_log import MarkdownLog
from tests.integration.trails import KEY, connected, denial, deny, open_organizations, pooled

DENIAL: Content = {
    "organization": "acme",
    "reservation_id": "r-1",
    "department": "",
    "campaign": "spring",
    "agent": "writer",
    "run": "run 1",
    "agent_type": "",
    "task": "",
    "model": "opus",
    "reason": "OUT_OF_BUDGET",
    "scope_kind": "CAMPAIGN",
    "scope_id": "spring",
    "budget_window": "MONTH",
    "period": "2026-11",
    "requested": "1.500000000",
    "shortfall": "0.250000001",
    "headroom_at": None,
    "denied_at": "2026-11-20T12:00:00.500000+00:00",
    "caller": "7",
    "actor": "ada",
    "actor_role": "ADMIN",
    "peer": "ipv4:127.0.0.1:9",
}
HOSTILE = (
    "a|b",
    "a\\|b",
    "back\\",
    "`code`",
    "``",
    "two\nlines\r\nand more",
    "\x1b[31mred\x07",
    "<script>alert(1)</script>",
    "<img src=https://evil.example/x>",
    "[click](https://evil.example)",
    "![picture](https://evil.example)",
    "https://evil.example and www.evil.example",
    "mail@evil.example",
    "&lt;b&gt;",
    "\u202ereversed",
    "\u2028line",
    " | | |\n|---|",
    "# heading",
    "| x | y |",
)


def path_of(logs_dir: Path) -> Path:
    return logs_dir / "budget" / "blocked-executions.md"


def write(logs_dir: Path, *denials: Content, **limits: int) -> None:
    asyncio.run(MarkdownLog(logs_dir, BLOCKED, **limits).write(denials))


def parsed(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(path.read_text())


def cells_of(path: Path) -> list[list[str]]:
    """Return the cells of the table's rows as a reader sees them."""
    rows: list[list[str]] = []
    for token in parsed(path):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows[1:]


def test_row(tmp_path: Path) -> None:
    """A denial is a row of a table, with when, whose, for what, why, how much, which budget, and who."""
    write(tmp_path, DENIAL)
    assert cells_of(path_of(tmp_path)) == [
        [
            "2026-11-20 12:00:00.500000",
            "acme",
            "spring",
            "writer",
            "run 1",
            "opus",
            "OUT_OF_BUDGET",
            "1.50",
            "0.250000001",
            "campaign spring, month 2026-11",
            "ada",
            "r-1",
        ]
    ]


def test_row_without_a_budget(tmp_path: Path) -> None:
    """A denial that no budget stands behind leaves cells empty."""
    write(tmp_path, {**DENIAL, **dict.fromkeys(("scope_kind", "scope_id", "budget_window", "period")), "run": ""})
    (row,) = cells_of(path_of(tmp_path))
    assert len(row) == len(BLOCKED.columns)
    assert (row[4], row[9]) == ("", "")


def test_header_once(tmp_path: Path) -> None:
    """The header is written once, with the first denial; nothing is there before."""
    log = MarkdownLog(tmp_path / "logs", BLOCKED)
    assert not (tmp_path / "logs").exists()
    for _ in range(3):
        asyncio.run(log.write([DENIAL] * 2))
    assert len(cells_of(path_of(tmp_path / "logs"))) == 6
    assert path_of(tmp_path / "logs").read_text().count("# Blocked executions") == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_names(tmp_path: Path, name: str) -> None:
    """Whatever is in a name, the row stays one row, and nothing in it becomes a link, a picture, HTML or a control."""
    names = ("organization", "campaign", "agent", "run", "model", "scope_id", "actor", "reservation_id")
    write(tmp_path, {**DENIAL, **dict.fromkeys(names, name)}, DENIAL)
    path = path_of(tmp_path)
    rows = cells_of(path)
    assert [len(row) for row in rows] == [len(BLOCKED.columns)] * 2
    kinds = {child.type for token in parsed(path) for child in token.children or ()}
    assert kinds <= {"text", "code_inline", "softbreak"}
    assert all(line.isprintable() for line in path.read_text().split("\n"))


def test_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that would grow too large becomes the newest of five older ones, each with its header."""
    monkeypatch.setattr(markdown_log, "ROWS_TOGETHER", 3)
    for number in range(30):
        write(tmp_path, *[{**DENIAL, "reservation_id": f"{number}-{entry}"} for entry in range(5)], bytes_max=4000)
    path = path_of(tmp_path)
    files = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, 6))]
    assert {file.name for file in path.parent.glob("blocked*")} == {file.name for file in files}
    assert all(file.stat().st_size <= 4000 for file in files)
    written = [row[-1] for file in reversed(files) for row in cells_of(file)]
    assert written == [f"{number}-{entry}" for number in range(30) for entry in range(5)][-len(written) :]


def append_many(logs_dir: Path, name: str) -> None:
    """Write rows as another process would."""
    log = MarkdownLog(logs_dir, BLOCKED, bytes_max=20_000)
    for number in range(40):
        asyncio.run(log.write([{**DENIAL, "reservation_id": f"{name}-{number}"}] * 3))


def test_two_processes(tmp_path: Path) -> None:
    """Processes that write to one folder at the same time lose no row and tear none, rotation included."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(tmp_path, name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    written = [row for file in path_of(tmp_path).parent.glob("blocked*") for row in cells_of(file)]
    assert {len(row) for row in written} == {len(BLOCKED.columns)}
    expected = [f"{name}-{number}" for name in "ab" for number in range(40) for _ in range(3)]
    assert sorted(row[-1] for row in written) == sorted(expected)


def test_failure_is_told_once_a_minute(tmp_path: Path) -> None:
    """A folder that cannot be written to is told once in a while, and stops nothing."""
    (tmp_path / "budget").write_text("no folder")
    log = MarkdownLog(tmp_path, BLOCKED)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            asyncio.run(log.write([DENIAL]))
    assert [line["event"] for line in logs] == ["execution_log.failed"]


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that does not fit on the disk is taken back, so that the next one begins a line."""
    write(tmp_path, DENIAL)
    real = os.write

    def some(opened: int, text: bytes) -> int:
        return real(opened, text[:10])

    with structlog.testing.capture_logs() as logs:
        monkeypatch.setattr(os, "write", some)
        write(tmp_path, DENIAL)
        monkeypatch.setattr(os, "write", real)
    assert [line["event"] for line in logs] == ["execution_log.failed"]
    write(tmp_path, DENIAL)
    assert len(cells_of(path_of(tmp_path))) == 2


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A symbolic link in the file's place is not written through."""
    path = path_of(tmp_path)
    path.parent.mkdir()
    (tmp_path / "other").write_text("untouched")
    path.symlink_to(tmp_path / "other")
    with structlog.testing.capture_logs():
        write(tmp_path, DENIAL)
    assert (tmp_path / "other").read_text() == "untouched"


def test_fed_by_the_chain(database_url: str, tmp_path: Path) -> None:
    """Each denial is written by the process that chains it, once."""

    async def work() -> list[int]:
        async with connected(database_url) as connection, pooled(database_url) as pool:
            await open_organizations(connection, "acme")
            await deny(connection, "acme", [denial(number) for number in range(20)])
            log = ExecutionLogs(tmp_path)
            return await asyncio.gather(*(chain(pool, KEY, log.write) for _ in range(2)))

    assert sum(asyncio.run(work())) == 20
    rows: Sequence[Sequence[str]] = cells_of(path_of(tmp_path))
    assert [row[-1] for row in rows] == [f"r-{number}" for number in range(20)]
