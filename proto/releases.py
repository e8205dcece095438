"""The contracts as they were released, and whether those of today keep them.

At a release: `python -m proto.releases 0.2.0` writes `proto/released/0.2.0.txtpb`. What is there is never changed.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc_tools
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from proto.generate import PROTO_DIR

RELEASED_DIR = PROTO_DIR / "released"

BUF = Path(sys.prefix) / "bin" / "buf"

# Everything that buf knows, down to generated code (FILE); but a field or an enum's value may go if its number and its
# name are reserved.
RULES = {
    "version": "v1",
    "breaking": {
        "use": [
            "FILE",
            "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED",
            "FIELD_NO_DELETE_UNLESS_NAME_RESERVED",
            "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED",
            "ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED",
        ],
        "except": ["FIELD_NO_DELETE", "ENUM_VALUE_NO_DELETE"],
    },
}

_BROKEN = 100
"""How buf ends when it has found something."""

_CHECK_LIMIT_S = 60.0


class Breach(NamedTuple):
    """`rule` as `buf config ls-breaking-rules` has them."""

    rule: str
    text: str


def described() -> FileDescriptorSet:
    """The contracts of today, with what they import."""
    well_known_types = Path(grpc_tools.__file__).parent / "_proto"
    protos = sorted(str(path) for path in PROTO_DIR.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "all"
        arguments = [f"-I{PROTO_DIR}", f"-I{well_known_types}", f"--descriptor_set_out={result}", "--include_imports"]
        if protoc.main(["protoc", *arguments, *protos]) != 0:
            raise SystemExit("protoc failed; see above")
        return FileDescriptorSet.FromString(result.read_bytes())


def releases() -> Mapping[str, FileDescriptorSet]:
    """By version."""
    return {
        path.name.removesuffix(".txtpb"): text_format.Parse(path.read_text(encoding="utf-8"), FileDescriptorSet())
        for path in sorted(RELEASED_DIR.glob("*.txtpb"))
    }


def breaches(now: FileDescriptorSet, before: FileDescriptorSet) -> Sequence[Breach]:
    """What those who build on `before` could not rely on in `now`. Reaches no network."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, contracts in (("now", now), ("before", before)):
            (Path(scratch) / f"{name}.binpb").write_bytes(contracts.SerializeToString())
        run = subprocess.run(  # noqa: S603 - of this environment
            [
                *(BUF, "breaking", "now.binpb", "--against", "before.binpb"),
                *("--config", json.dumps(RULES), "--error-format", "json"),
            ],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_CHECK_LIMIT_S,
            check=False,
        )
    if run.returncode not in (0, _BROKEN):
        raise RuntimeError(f"buf could not compare: {run.stderr}")
    found = [json.loads(line) for line in run.stdout.splitlines()]
    return [Breach(each["type"], each["message"]) for each in found]


def write_release(version: str) -> Path:
    """Raises FileExistsError: a release stays as it was."""
    path = RELEASED_DIR / f"{version}.txtpb"
    with path.open("x", encoding="utf-8") as file:
        file.write(text_format.MessageToString(described()))
    return path


if __name__ == "__main__":
    sys.stdout.write(f"wrote {write_release(sys.argv[1]).relative_to(PROTO_DIR.parent)}\n")
