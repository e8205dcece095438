"""The contracts keep the field's rules, and the generated code is theirs."""

import re
from pathlib import Path

import pytest
from google.protobuf.internal import api_implementation

from proto.generate import GENERATED_DIR, PROTO_DIR, generate
from sluice._gen.events.v1 import events_pb2
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2

FILES = [module.DESCRIPTOR for module in (events_pb2, orders_pb2, stock_pb2)]
SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def _tree(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*.py*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(directory)): path.read_text() for path in files}


def test_the_generated_code_is_fresh(tmp_path: Path) -> None:
    generate(tmp_path / "_gen")
    assert _tree(tmp_path / "_gen") == _tree(GENERATED_DIR)


def test_every_proto_is_checked_here() -> None:
    assert sorted(str(path.relative_to(PROTO_DIR)) for path in PROTO_DIR.rglob("*.proto")) == sorted(
        file.name for file in FILES
    )


def test_messages_are_read_in_c() -> None:
    assert api_implementation.Type() == "upb"


@each_file
def test_the_package_is_the_folder_and_has_a_version(file: "object") -> None:
    folder = Path(file.name).parent  # type: ignore[attr-defined]
    assert file.package == ".".join(folder.parts)  # type: ignore[attr-defined]
    assert re.fullmatch(r"v\d+", folder.name)


@each_file
def test_only_well_known_types_and_each_other_are_imported(file: "object") -> None:
    own = {each.name for each in FILES}
    for imported in file.dependencies:  # type: ignore[attr-defined]
        assert imported.name in own or imported.name.startswith("google/protobuf/")


@each_file
def test_an_enums_zero_says_unspecified_and_its_values_carry_its_name(file: "object") -> None:
    for enum in file.enum_types_by_name.values():  # type: ignore[attr-defined]
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
        assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"
        assert all(value.name.startswith(f"{prefix}_") for value in enum.values)


@each_file
def test_fields_are_in_snake_case(file: "object") -> None:
    for message in file.message_types_by_name.values():  # type: ignore[attr-defined]
        assert all(SNAKE_CASE.fullmatch(field.name) for field in message.fields)


def test_every_method_has_a_request_and_a_response_of_its_own() -> None:
    used = []
    for file in FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                assert method.input_type.name == f"{method.name}Request"
                assert method.output_type.name == f"{method.name}Response"
                used += [method.input_type.full_name, method.output_type.full_name]
    assert len(used) == len(set(used)) > 0


def test_every_method_is_explained() -> None:
    for path in PROTO_DIR.rglob("*.proto"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if line.strip().startswith("rpc "):
                assert lines[number - 1].strip().startswith("//"), f"{path.name}:{number + 1}"


def test_every_service_is_explained_at_its_head_or_the_files() -> None:
    for path in PROTO_DIR.rglob("*.proto"):
        lines = path.read_text().splitlines()
        assert any(line.startswith("// ") for line in lines[:4]), path.name
