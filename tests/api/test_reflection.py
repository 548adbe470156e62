import subprocess
import sys

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from regatta.api.reflection import Catalogue
from regatta.api.reflection import reflection_services
from regatta.errors import InvalidArgument
from regatta.pb import regatta_pb2

SERVED = [*regatta_pb2.DESCRIPTOR.services_by_name.values()]
NAMES = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "regatta.v1.KV",
    "regatta.v1.Maintenance",
]
ALPHA, V1 = reflection_services(SERVED)


@pytest.fixture(params=[ALPHA, V1], ids=["v1alpha", "v1"])
def reflection(request):
    return request.param


async def ask(reflection, **request):
    """Return the answer to one request."""
    request_class = GetMessageClass(reflection.descriptor.methods[0].input_type)

    async def requests():
        yield request_class(host="localhost", **request)

    [answer] = [answer async for answer in reflection.server_reflection_info(requests(), None)]
    assert answer.valid_host == "localhost"
    assert answer.original_request == request_class(host="localhost", **request)
    # What one version writes, the other one reads.
    return reflection_pb2.ServerReflectionResponse.FromString(answer.SerializeToString())


def file_names(answer) -> list[str]:
    files = answer.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(file).name for file in files]


REGATTA_FILES = ["regatta/pb/regatta.proto", "regatta/pb/mvcc.proto"]


def test_both_versions_have_their_own_names():
    assert V1.descriptor.full_name == "grpc.reflection.v1.ServerReflection"
    assert ALPHA.descriptor.full_name == "grpc.reflection.v1alpha.ServerReflection"
    [method] = V1.descriptor.methods
    assert method.input_type.full_name == "grpc.reflection.v1.ServerReflectionRequest"
    assert method.client_streaming
    assert method.server_streaming
    assert b"v1alpha" not in V1.descriptor.file.serialized_pb


async def test_exactly_the_served_services_are_listed(reflection):
    answer = await ask(reflection, list_services="")
    assert [service.name for service in answer.list_services_response.service] == NAMES


async def test_a_file_is_found_by_its_name_with_all_that_it_imports(reflection):
    answer = await ask(reflection, file_by_filename="regatta/pb/regatta.proto")
    assert file_names(answer) == REGATTA_FILES
    answer = await ask(reflection, file_by_filename="regatta/pb/mvcc.proto")
    assert file_names(answer) == ["regatta/pb/mvcc.proto"]


@pytest.mark.parametrize(
    "symbol",
    ["regatta.v1.KV", "regatta.v1.KV.IterateRange", "regatta.v1.RangeRequest",
     "regatta.v1.RangeRequest.range_end", "regatta.v1.ResetRequest.Operation",
     "regatta.v1.ResetRequest.CLUSTER"],
)  # fmt: skip
async def test_a_file_is_found_by_every_kind_of_symbol(reflection, symbol):
    assert file_names(await ask(reflection, file_containing_symbol=symbol)) == REGATTA_FILES


@pytest.mark.parametrize(
    "symbol", ["mvcc.v1.RequestOp.Put", "mvcc.v1.Compare.target_union", "mvcc.v1.RequestOp.Put.key"]
)
async def test_symbols_of_imported_files_are_found(reflection, symbol):
    answer = await ask(reflection, file_containing_symbol=symbol)
    assert file_names(answer) == ["regatta/pb/mvcc.proto"]


@pytest.mark.parametrize("name", NAMES)
async def test_the_files_of_a_service_build_a_working_pool(reflection, name):
    answer = await ask(reflection, file_containing_symbol=name)
    pool = DescriptorPool()
    for data in reversed(answer.file_descriptor_response.file_descriptor_proto):
        pool.Add(FileDescriptorProto.FromString(data))
    assert pool.FindServiceByName(name).full_name == name


@pytest.mark.parametrize(
    "request_fields",
    [
        {"file_by_filename": "other.proto"},
        {"file_containing_symbol": "regatta.v1.Other"},
        {"file_containing_symbol": "grpc.health.v1.Health"},  # known, and not served
        {"file_containing_symbol": ""},
        {"file_containing_extension": {"containing_type": "regatta.v1.KV", "extension_number": 1}},
        {"all_extension_numbers_of_type": "regatta.v1.Other"},
    ],
    ids=str,
)
async def test_what_is_not_there_is_told_inside_the_answer(reflection, request_fields):
    answer = await ask(reflection, **request_fields)
    assert answer.WhichOneof("message_response") == "error_response"
    assert answer.error_response.error_code == 5
    assert answer.error_response.error_message.startswith("not found: ")


async def test_a_message_without_extensions_has_an_empty_list_of_them(reflection):
    answer = await ask(reflection, all_extension_numbers_of_type="regatta.v1.RangeRequest")
    numbers = answer.all_extension_numbers_response
    assert (numbers.base_type_name, list(numbers.extension_number)) == (
        "regatta.v1.RangeRequest",
        [],
    )


async def test_a_request_for_nothing_is_an_invalid_argument(reflection):
    with pytest.raises(InvalidArgument, match="message_request must be set"):
        await ask(reflection)


async def test_one_stream_answers_many_requests_in_order(reflection):
    request_class = GetMessageClass(reflection.descriptor.methods[0].input_type)
    asked = ["regatta.v1.KV", "nothing", "mvcc.v1.KeyValue"]

    async def requests():
        for symbol in asked:
            yield request_class(file_containing_symbol=symbol)

    answers = [answer async for answer in reflection.server_reflection_info(requests(), None)]
    assert [answer.original_request.file_containing_symbol for answer in answers] == asked


def test_extensions_are_found_by_type_and_number():
    file = FileDescriptorProto(name="x.proto", package="x", syntax="proto2")
    file.message_type.add(name="Open").extension_range.add(start=100, end=200)
    nested = file.message_type.add(name="Scope")
    for owner, number in ((file, 101), (nested, 102)):
        owner.extension.add(name=f"e{number}", number=number, type=5, label=1, extendee=".x.Open")
    service = file.service.add(name="S")
    service.method.add(name="M", input_type=".x.Open", output_type=".x.Open")
    pool = DescriptorPool()
    pool.Add(file)
    catalogue = Catalogue([pool.FindServiceByName("x.S")])
    assert sorted(catalogue.by_extension) == [("x.Open", 101), ("x.Open", 102)]
    assert {"x.e101", "x.Scope.e102"} <= set(catalogue.by_symbol)


def test_reflection_and_health_do_not_import_grpc():
    program = (
        "import sys, regatta.api.reflection, regatta.api.health;"
        "sys.exit('grpc' in sys.modules or 'grpc_health.v1.health_pb2_grpc' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_files_that_serve_several_services_are_kept_once():
    catalogue = Catalogue([*SERVED, health_pb2.DESCRIPTOR.services_by_name["Health"]])
    assert sorted(catalogue.by_name) == [
        "grpc_health/v1/health.proto",
        "regatta/pb/mvcc.proto",
        "regatta/pb/regatta.proto",
    ]
