"""Generates `sluice/_gen` from the protos: `make protos`.

protoc writes absolute imports that start at the proto package (`sluice.orders.v1`); the code lives under
`sluice._gen`, so that generated names never mix with written ones. The imports are rewritten accordingly.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO_DIR = ROOT / "proto"
GENERATED_DIR = ROOT / "sluice" / "_gen"


def generate(target: Path) -> None:
    """Writes the generated package tree into `target`, replacing what is there."""
    well_known_types = Path(grpc_tools.__file__).parent / "_proto"
    protos = sorted(str(path) for path in PROTO_DIR.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["protoc", f"-I{PROTO_DIR}", f"-I{well_known_types}"]
        arguments += [f"--python_out={scratch}", f"--pyi_out={scratch}", *protos]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed; see above")
        shutil.rmtree(target, ignore_errors=True)
        for generated in sorted(Path(scratch).rglob("*_pb2.py*")):
            place = target / generated.relative_to(Path(scratch) / "sluice")
            place.parent.mkdir(parents=True, exist_ok=True)
            text = generated.read_text().replace("from sluice.", "from sluice._gen.")
            place.write_text(text)
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text("")


if __name__ == "__main__":
    generate(GENERATED_DIR)
    sys.stdout.write(f"generated {GENERATED_DIR.relative_to(ROOT)}\n")
