"""The standard gRPC reflection service, in both of its versions.

The messages of v1 are those of v1alpha under another package name; one is made from the other.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]

from regatta.api.context import Context
from regatta.api.service import Policy
from regatta.errors import Code
from regatta.errors import InvalidArgument
from regatta.errors import NotFound

ALPHA = "grpc.reflection.v1alpha"
V1 = "grpc.reflection.v1"


def reflection_services(served: Iterable[ServiceDescriptor]) -> list["Reflection"]:
    """Return both versions of the service. They tell of the *served* services and themselves."""
    own = [
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
        _v1_file().services_by_name["ServerReflection"],
    ]
    catalogue = Catalogue([*served, *own])
    return [Reflection(descriptor, catalogue) for descriptor in own]


def _v1_file() -> FileDescriptor:
    """Return v1alpha's file under the name and package of v1."""
    file = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = V1
    file.ClearField("options")
    for message in _with_nested(file.message_type):
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = field.type_name.replace(f".{ALPHA}.", f".{V1}.")
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(f".{ALPHA}.", f".{V1}.")
        method.output_type = method.output_type.replace(f".{ALPHA}.", f".{V1}.")
    # A pool of its own: nobody else in the process need know of it.
    pool = DescriptorPool()
    pool.Add(file)
    return pool.FindFileByName(file.name)


def _with_nested(messages: Iterable[DescriptorProto]) -> Iterator[DescriptorProto]:
    for message in messages:
        yield message
        yield from _with_nested(message.nested_type)


class Catalogue:
    """The files that describe some services, by everything that a client may ask for.

    Values are encoded files, each followed by all that it depends on.
    """

    def __init__(self, services: Sequence[ServiceDescriptor]) -> None:
        self.service_names = sorted(service.full_name for service in services)
        self.by_name: dict[str, list[bytes]] = {}
        self.by_symbol: dict[str, list[bytes]] = {}
        self.by_extension: dict[tuple[str, int], list[bytes]] = {}
        self.message_names: set[str] = set()
        for service in services:
            for file in _with_dependencies(service.file):
                if file.name not in self.by_name:
                    self._add(file)

    def _add(self, file: FileDescriptor) -> None:
        files = [_encoded(found) for found in _with_dependencies(file)]
        proto = FileDescriptorProto.FromString(file.serialized_pb)
        self.by_name[file.name] = files
        for symbol in _symbols(proto):
            self.by_symbol[symbol] = files
        for message in _with_nested(proto.message_type):
            self._add_extensions(message.extension, files)
        self._add_extensions(proto.extension, files)
        self.message_names |= set(_message_names(proto.package, proto.message_type))

    def _add_extensions(self, fields: Iterable[FieldDescriptorProto], files: list[bytes]) -> None:
        for field in fields:
            self.by_extension[field.extendee.removeprefix("."), field.number] = files


def _encoded(file: FileDescriptor) -> bytes:
    """Return an encoded file, with the JSON names that the generator leaves out of our modules.

    Clients that print JSON, grpcurl among them, go by these rather than work them out.
    """
    proto = FileDescriptorProto.FromString(file.serialized_pb)
    for message in _with_nested(proto.message_type):
        for field in message.field:
            first, *others = field.name.split("_")
            field.json_name = first + "".join(word[:1].upper() + word[1:] for word in others)
    return proto.SerializeToString()


def _with_dependencies(file: FileDescriptor) -> list[FileDescriptor]:
    """Return *file* and all that it imports, directly or not, each once."""
    found = {file.name: file}
    queue = [file]
    while queue:
        for imported in queue.pop().dependencies:
            if imported.name not in found:
                found[imported.name] = imported
                queue.append(imported)
    return list(found.values())


def _symbols(file: FileDescriptorProto) -> Iterator[str]:
    """Yield the full name of everything that *file* defines."""
    scope = f"{file.package}." if file.package else ""
    for service in file.service:
        yield scope + service.name
        for method in service.method:
            yield f"{scope}{service.name}.{method.name}"
    yield from _symbols_within(scope, file.message_type, file.enum_type, file.extension)


def _symbols_within(scope: str, messages: Any, enums: Any, extensions: Any) -> Iterator[str]:
    for extension in extensions:
        yield scope + extension.name
    for enum in enums:
        yield scope + enum.name
        # The values of an enum are its siblings, not its children.
        for value in enum.value:
            yield scope + value.name
    for message in messages:
        inner = f"{scope}{message.name}."
        yield scope + message.name
        for field in [*message.field, *message.oneof_decl]:
            yield inner + field.name
        yield from _symbols_within(inner, message.nested_type, message.enum_type, message.extension)


def _message_names(scope: str, messages: Iterable[DescriptorProto]) -> Iterator[str]:
    for message in messages:
        name = f"{scope}.{message.name}" if scope else message.name
        yield name
        yield from _message_names(name, message.nested_type)


class Reflection:
    """One version of the service."""

    policies: ClassVar[Mapping[str, Policy]] = {"ServerReflectionInfo": Policy(None)}

    def __init__(self, descriptor: ServiceDescriptor, catalogue: Catalogue) -> None:
        self.descriptor = descriptor
        self._catalogue = catalogue
        self._response_class: Any = GetMessageClass(descriptor.methods[0].output_type)

    async def server_reflection_info(
        self, requests: AsyncIterator[Any], context: Context
    ) -> AsyncGenerator[Any, None]:
        """Answer each request by one message; what is not found is told inside of it."""
        async for request in requests:
            response = self._response_class(valid_host=request.host)
            response.original_request.CopyFrom(request)
            try:
                self._answer(request, response)
            except NotFound as error:
                response.error_response.error_code = Code.NOT_FOUND
                response.error_response.error_message = str(error)
            yield response

    def _answer(self, request: Any, response: Any) -> None:
        catalogue, kind = self._catalogue, request.WhichOneof("message_request")
        if kind is None:
            raise InvalidArgument("message_request must be set")
        asked = getattr(request, kind)
        if kind == "list_services":
            for name in catalogue.service_names:
                response.list_services_response.service.add(name=name)
        elif kind == "all_extension_numbers_of_type":
            self._list_extensions(asked, response.all_extension_numbers_response)
        else:
            files = {
                "file_by_filename": lambda: catalogue.by_name.get(asked),
                "file_containing_symbol": lambda: catalogue.by_symbol.get(asked),
                "file_containing_extension": lambda: catalogue.by_extension.get(
                    (asked.containing_type, asked.extension_number)
                ),
            }[kind]()
            if files is None:
                raise NotFound(f"not found: {str(asked).strip()}")
            response.file_descriptor_response.file_descriptor_proto.extend(files)

    def _list_extensions(self, type_name: str, answer: Any) -> None:
        if type_name not in self._catalogue.message_names:
            raise NotFound(f"not found: {type_name}")
        answer.base_type_name = type_name
        answer.extension_number.extend(
            sorted(number for name, number in self._catalogue.by_extension if name == type_name)
        )
