"""Which commands turn `protos/` into Python? This script is the only answer; run it with `make protos`.

The client is thin: its messages must not drag the validation rules' own package into every agent process, where
another copy of it may be registered already. So two things are made from the same sources:

* `src/gatekeeper_client/v1/`: messages and stubs, the rules stripped;
* `src/gatekeeper/rpc/rules.binpb`: the full descriptors, rules included, for the server's validation.

grpcio-tools 1.76 is used in an environment of its own, because stubs made by a newer one demand a newer grpcio and
protobuf of every client. The types of stubs are those of mypy-protobuf 3.6: 3.7 gives a stub a type variable of two
constraints for each RPC, and type checkers try every combination, which takes twice as long with every RPC.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
SOURCES = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.glob("gatekeeper/v1/*.proto"))
RULES = "buf/validate/validate.proto"
PROTOC = [
    os.environ.get("UV", "uv"),
    "run",
    "--no-project",
    "--with",
    "grpcio-tools==1.76.0",
    "--with",
    "setuptools<81",
]
PROTOC += ["--with", "mypy-protobuf==3.6.0", "python", "-m", "grpc_tools.protoc"]
IMPORT = re.compile(r"from gatekeeper\.v1 import ")
HEADER = "# ruff: noqa\n"
OUTPUTS = ("gatekeeper/rpc/rules.binpb", "gatekeeper_client/v1")


def main() -> None:
    """Write both outputs, or with `--check` tell whether they are fresh."""
    if "--check" not in sys.argv:
        generate(ROOT / "src")
        return
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        stale = [path for path in OUTPUTS if not is_same(ROOT / "src" / path, Path(fresh, path))]
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run `make protos`")


def is_same(committed: Path, fresh: Path) -> bool:
    """Tell whether a file, or every generated file of a folder, is as it would be made now."""
    if fresh.is_file():
        return committed.is_file() and committed.read_bytes() == fresh.read_bytes()
    names = {path.name for folder in (committed, fresh) for path in folder.glob("*_pb2*")}
    return all(is_same(committed / name, fresh / name) for name in names if "__pycache__" not in name) and all(
        (committed / name).is_file() == (fresh / name).is_file() for name in names
    )


def generate(target: Path) -> None:
    """Write both outputs below `target`."""
    with tempfile.TemporaryDirectory() as scratch:
        full = Path(scratch, "full.binpb")
        protoc(f"-I{PROTOS}", f"-I{PROTOS / 'third_party'}", "--include_imports", f"--descriptor_set_out={full}")
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(full.read_bytes())
        write_rules(descriptors, target / "gatekeeper" / "rpc" / "rules.binpb")
        stripped = Path(scratch, "stripped.binpb")
        stripped.write_bytes(without_rules(descriptors).SerializeToString(deterministic=True))
        out = Path(scratch, "out")
        out.mkdir()
        protoc(
            f"--descriptor_set_in={stripped}",
            f"--python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--grpc_python_out={out}",
            f"--mypy_grpc_out=quiet:{out}",
        )
        write_client(out / "gatekeeper" / "v1", target / "gatekeeper_client" / "v1")


def protoc(*arguments: str) -> None:
    """Run the compiler on all sources."""
    subprocess.run([*PROTOC, *arguments, *SOURCES], check=True, cwd=ROOT)


def without_rules(descriptors: descriptor_pb2.FileDescriptorSet) -> descriptor_pb2.FileDescriptorSet:
    """Return a copy whose files neither import nor use the validation rules."""
    stripped = descriptor_pb2.FileDescriptorSet()
    for file in descriptors.file:
        if file.name == RULES:
            continue
        kept = stripped.file.add()
        kept.CopyFrom(file)
        if RULES in kept.dependency:
            kept.dependency.remove(RULES)
        for message in kept.message_type:
            strip_options(message)
    return stripped


def strip_options(message: descriptor_pb2.DescriptorProto) -> None:
    """Drop the options of a message's fields and oneofs: the rules are the only ones in use."""
    for field in message.field:
        field.ClearField("options")
    for oneof in message.oneof_decl:
        oneof.ClearField("options")
    for nested in message.nested_type:
        strip_options(nested)


def write_rules(descriptors: descriptor_pb2.FileDescriptorSet, path: Path) -> None:
    """Keep the full descriptors for the server."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(descriptors.SerializeToString(deterministic=True))


def write_client(generated: Path, package: Path) -> None:
    """Move the modules into the client's package, where they import each other from beside themselves."""
    package.mkdir(parents=True, exist_ok=True)
    for stale in package.glob("*_pb2*"):
        stale.unlink()
    for path in sorted(generated.iterdir()):
        if path.name.endswith(("_pb2_grpc.py", "_pb2_grpc.pyi")) and "service" not in path.name:
            continue
        text = IMPORT.sub("from . import ", path.read_text())
        text = text.replace("DESCRIPTOR, 'gatekeeper.v1.", "DESCRIPTOR, 'gatekeeper_client.v1.")
        text = text.replace("import gatekeeper.v1.", "import gatekeeper_client.v1.")
        text = text.replace("gatekeeper.v1.", "gatekeeper_client.v1.") if path.suffix == ".pyi" else text
        (package / path.name).write_text(HEADER + text)


if __name__ == "__main__":
    main()
