"""Does the official validator accept our FOCUS files? Asks focus-validator, by `make focus-validate`.

It wants Python 3.12 and old releases of much, so it runs in an environment of its own. It knows rules that the
specification does not have: `focus_known_failures.toml` lists those that it finds broken, each with the reason. An
invoice and a credit note are validated, or the files that are named on the command line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ET  # the validator's own report is no stranger's
from collections.abc import Iterable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from gatekeeper.invoicing import focus
from tests.unit import billed

KNOWN = Path(__file__).with_name("focus_known_failures.toml")
UV = Path(shutil.which(os.environ.get("UV", "uv")) or "uv").absolute()
REQUIREMENTS = ("focus-validator==2.2.1", "pyarrow<22")
OPTIONS = ("--block-download", "--validate-version", "1.2.0.1", "--output-type", "unittest")
# It finds its own files from its own folder only.
VALIDATE = "import os, focus_validator.main as it; os.chdir(os.path.dirname(os.path.dirname(it.__file__))); it.main()"
# What our files claim to have: names of accounts, departments, tags, counted usage, and a price for each model.
CRITERIA = ("ACCOUNT_NAMING", "SUB_ACCOUNT", "TAGGING", "USAGE_MEASUREMENT", "UNIT_PRICING")
# Of its 578 rules, so many apply to our files; fewer would mean that it did not look.
RULES_MIN = 180


def main() -> None:
    """Print what is found; exit with 1 for a failure that is not known, or one that is known and gone."""
    python = interpreter()
    if python is None:
        sys.exit("focus-validator needs Python 3.12, and none was found. Set FOCUS_PYTHON=/path/to/python3.12.")
    with tempfile.TemporaryDirectory() as folder:
        named = [Path(name).resolve() for name in sys.argv[1:]]
        known = tomllib.loads(KNOWN.read_text())
        found = {file.name: report(python, file, Path(folder, "report.xml")) for file in named or samples(Path(folder))}
    lines, unknown = judged(found, known)
    gone = [] if named else stale(found.values(), known)
    print("\n".join([*lines, *gone]))
    sys.exit(int(unknown or bool(gone)))


def samples(folder: Path) -> list[Path]:
    """Write an invoice with late calls, and the credit note over it."""
    executions = billed.month()
    invoice = billed.invoice(executions)
    documents = {"invoice.csv": invoice, "credit-note.csv": billed.credit_note(invoice)}
    for name, document in documents.items():
        with Path(folder, name).open("wb") as out:
            focus.write(document, billed.focus_charges(executions), out, zone=ZoneInfo("Europe/Berlin"))
    return [folder / name for name in documents]


def interpreter() -> str | None:
    """Return a Python 3.12: the one that is named, that of the PATH, or pyenv's."""
    named = os.environ.get("FOCUS_PYTHON")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates = [named, shutil.which("python3.12"), *map(str, pyenv.glob("3.12.*/bin/python"))]
    return next((python for python in candidates if python and is_3_12(python)), None)


def is_3_12(python: str) -> bool:
    """Tell whether a program is what its name says; pyenv's shims may not be."""
    check = "import sys; sys.exit(sys.version_info[:2] != (3, 12))"
    return subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0


def report(python: str, file: Path, destination: Path) -> ET.Element:
    """Return the validator's report on a file."""
    run: list[str | Path] = [UV, "run", "--quiet", "--no-project", "--python", python]
    run += [part for requirement in REQUIREMENTS for part in ("--with", requirement)]
    asked: list[str | Path] = [
        "python",
        "-c",
        VALIDATE,
        *OPTIONS,
        "--data-file",
        file,
        "--output-destination",
        destination,
    ]
    asked += ["--applicability-criteria", ",".join(f"{name}_SUPPORTED" for name in CRITERIA)]
    validated = subprocess.run([*run, *asked], capture_output=True, text=True, check=False)
    if validated.returncode:
        sys.exit(validated.stdout + validated.stderr)
    return ET.parse(destination).getroot()  # noqa: S314


def judged(reports: Mapping[str, ET.Element], known: Mapping[str, str]) -> tuple[list[str], bool]:
    """Return what to say of the reports on some files, and whether it is bad news."""
    lines, bad = [], False
    for file, root in reports.items():
        failures, applied = failed(root), rules(root)
        unknown = failures - known.keys()
        lines.append(f"{file}: {applied} rules applied, {len(failures)} failed, {len(unknown)} of them unknown")
        lines += [f"  {name}: {known.get(name, 'UNKNOWN')}" for name in sorted(failures)]
        bad |= bool(unknown) or applied < RULES_MIN
    return lines, bad


def stale(reports: Iterable[ET.Element], known: Mapping[str, str]) -> list[str]:
    """Return a line for each known failure that is none any more."""
    gone = known.keys() - {name for root in reports for name in failed(root)}
    return [f"{name} is known as a false failure, and passes: remove it" for name in sorted(gone)]


def failed(root: ET.Element) -> set[str]:
    """Return the rules that were found broken."""
    return {failure.attrib["name"] for failure in root.iter("failure")}


def rules(root: ET.Element) -> int:
    """Return how many rules were applied."""
    return int(root.attrib["tests"]) - int(root.attrib["skipped"])


if __name__ == "__main__":
    main()
