"""Has any locked dependency a known vulnerability? Asks the Python Package Index, by pip-audit: `make audit`.

Nothing is installed or resolved: what is asked about stands in uv.lock, extras and development tools included. Where
the index does not answer in time, or knows no package, as a mirror without advisories, nothing is said of any.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 5
UNREACHABLE = re.compile("connect|timeout|timed out|network|ServiceError", re.IGNORECASE)
NOT_CHECKED = "not checked: the advisory database cannot be reached"

# Advisories that do not concern us, by id or alias, each with the reason.
IGNORED: Mapping[str, str] = {}

EXPORT = [os.environ.get("UV", "uv"), "export", "--frozen", "--no-emit-project", "--all-extras", "--all-groups"]
EXPORT += ["--quiet", "--output-file"]
AUDIT = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
AUDIT += ["--timeout", str(ANSWER_TIMEOUT_S), "--format", "json"]


def main() -> None:
    """Print what is known; exit with 1 for a vulnerability, or where it could not even be asked."""
    with tempfile.TemporaryDirectory() as folder:
        requirements, answer = Path(folder, "requirements.txt"), Path(folder, "answer.json")
        subprocess.run([*EXPORT, requirements], check=True)
        try:
            asked = subprocess.run(
                [*AUDIT, "--requirement", requirements, "--output", answer],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"{NOT_CHECKED} within {TIMEOUT_S} s")
            return
        if answer.exists():
            lines, vulnerable = judged(json.loads(answer.read_text()))
            print("\n".join(lines))
            sys.exit(int(vulnerable))
        if not UNREACHABLE.search(asked.stderr):
            sys.exit(asked.stderr)
        print(NOT_CHECKED)


def judged(answer: Mapping[str, Any], ignored: Mapping[str, str] = IGNORED) -> tuple[list[str], bool]:
    """Return what to say of pip-audit's answer, and whether it is bad news."""
    packages = answer["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return [f"{NOT_CHECKED}; what answers knows none of {len(packages)} packages"], False
    found = [(package, advisory) for package in packages for advisory in package.get("vulns", ())]
    bad = [(package, advisory) for package, advisory in found if not names(advisory) & ignored.keys()]
    lines = [told(package, advisory) for package, advisory in bad]
    stale = ignored.keys() - {name for _, advisory in found for name in names(advisory)}
    lines += [f"{name} is ignored, and concerns no package any more: remove it" for name in sorted(stale)]
    if unknown:
        lines.append(f"not checked, for the advisory database does not know them: {', '.join(unknown)}")
    lines.append(f"{len(packages) - len(unknown)} packages checked, {len(bad)} vulnerabilities")
    return lines, bool(bad)


def names(advisory: Mapping[str, Any]) -> set[str]:
    """Return every id of an advisory."""
    return {advisory["id"], *advisory.get("aliases", ())}


def told(package: Mapping[str, Any], advisory: Mapping[str, Any]) -> str:
    """Return the line of an advisory."""
    mended = ", ".join(advisory.get("fix_versions", ())) or "no version yet"
    others = ", ".join(sorted(names(advisory) - {advisory["id"]}))
    return f"{package['name']} {package['version']}: {advisory['id']} ({others}), mended in {mended}"


if __name__ == "__main__":
    main()
