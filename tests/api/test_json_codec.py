import base64
import json

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regatta import limits
from regatta.api import json_codec
from regatta.errors import InvalidArgument
from regatta.pb import mvcc_pb2
from regatta.pb import regatta_pb2


def decoded(message_class, text: str | bytes):
    message = message_class()
    json_codec.decode(message, text if isinstance(text, bytes) else text.encode())
    return message


def refusal(message_class, text: str | bytes) -> str:
    with pytest.raises(InvalidArgument) as caught:
        decoded(message_class, text)
    return str(caught.value)


# Output


def test_output_is_compact_in_field_order_with_the_header_names_of_rest():
    response = regatta_pb2.RangeResponse(
        count=1,
        kvs=[mvcc_pb2.KeyValue(key=b"key_1", value=b"table_1value_1", mod_revision=7)],
        header=regatta_pb2.ResponseHeader(
            shard_id=10001, replica_id=1, revision=5, raft_term=2, raft_leader_id=1
        ),
    )
    assert json_codec.encode(response) == (
        b'{"header":{"cluster_id":"10001","member_id":"1","revision":"5","raft_term":"2",'
        b'"raft_leader_id":"1"},'
        b'"kvs":[{"key":"a2V5XzE=","mod_revision":"7","value":"dGFibGVfMXZhbHVlXzE="}],'
        b'"count":"1"}'
    )


def test_defaults_are_left_out_and_set_messages_are_not():
    assert json_codec.encode(regatta_pb2.RangeResponse(more=False, count=0)) == b"{}"
    with_header = regatta_pb2.RangeResponse(header=regatta_pb2.ResponseHeader())
    assert json_codec.encode(with_header) == b'{"header":{}}'


def test_64_bit_integers_are_strings_and_booleans_are_bare():
    response = regatta_pb2.HashResponse(hash=2**64 - 1)
    assert json_codec.encode(response) == b'{"hash":"18446744073709551615"}'
    assert json_codec.encode(regatta_pb2.RangeResponse(more=True)) == b'{"more":true}'


def test_enums_are_printed_by_name_and_unknown_ones_by_number():
    def encoded(number):
        return json_codec.encode(regatta_pb2.ResetRequest(operation=number))

    assert encoded(1) == b'{"operation":"CLUSTER"}'
    assert encoded(77) == b'{"operation":77}'


# Input


@pytest.mark.parametrize("body", ["", " \n", "{}", "null"])
def test_nothing_is_an_empty_message(body):
    assert decoded(regatta_pb2.RangeRequest, body) == regatta_pb2.RangeRequest()


@pytest.mark.parametrize("name", ["range_end", "rangeEnd"])
def test_both_spellings_of_a_name_are_read(name):
    assert decoded(regatta_pb2.RangeRequest, f'{{"{name}":"YQ=="}}').range_end == b"a"


@pytest.mark.parametrize("name", ["shard_id", "shardId", "cluster_id", "clusterId"])
def test_header_names_of_both_generations_are_read(name):
    header = decoded(regatta_pb2.ResponseHeader, f'{{"{name}":"3"}}')
    assert header.shard_id == 3


@pytest.mark.parametrize("text", ["5", '"5"', "5.0", "5e0", '"5.0"', "50e-1", '"0.5e1"', "5.000"])
def test_integers_are_read_in_every_form(text):
    assert decoded(regatta_pb2.RangeRequest, f'{{"limit":{text}}}').limit == 5


@pytest.mark.parametrize("number", [-(2**63), 2**63 - 1, 0, 9007199254740993])
def test_integers_keep_every_digit(number):
    for text in (f"{number}", f'"{number}"', f"{number}.0"):
        assert decoded(regatta_pb2.RangeRequest, f'{{"limit":{text}}}').limit == number


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1.5", "not an integer"),
        ('"x"', "not an integer"),
        ('""', "not an integer"),
        ('"1_000"', "not an integer"),
        ('" 1"', "not an integer"),
        ("true", "not an integer"),
        ("[]", "not an integer"),
        ("9223372036854775808", "out of range"),
        ("-9223372036854775809", "out of range"),
        ("1e400", "out of range"),
        ("1e999999999", "out of range"),
        ("1e-999999999", "not an integer"),
    ],
)
def test_what_is_no_integer_of_that_size_is_refused(text, problem):
    assert refusal(regatta_pb2.RangeRequest, f'{{"limit":{text}}}') == f"limit: {problem}"


def test_a_negative_number_is_out_of_range_for_an_unsigned_field():
    assert refusal(regatta_pb2.ResetRequest, '{"member_id":-1}') == "member_id: out of range"


@pytest.mark.parametrize("text", ["NaN", "Infinity", '{"x":-Infinity}', "1e99999999999999999999"])
def test_numbers_that_are_none_are_illegal_even_in_unknown_fields(text):
    assert refusal(regatta_pb2.RangeRequest, f'{{"other":{text}}}').startswith("illegal JSON: ")


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("+/+/", b"\xfb\xff\xbf"),
        ("-_-_", b"\xfb\xff\xbf"),
        ("YQ==", b"a"),
        ("YQ", b"a"),
        ("YWI=", b"ab"),
        ("YWI", b"ab"),
        ("", b""),
        ("YW\\nJj\\r\\n", b"abc"),
        ("YR==", b"a"),  # the spare bits of the last character are not looked at
    ],
)
def test_base64_is_read_in_every_form(text, data):
    assert decoded(regatta_pb2.RangeRequest, f'{{"table":"{text}"}}').table == data


@pytest.mark.parametrize(
    ("text", "position"),
    [("YWJj!", 4), ("Y", 1), ("YQ=", 2), ("YQ===", 2), ("=", 0), ("YWJj=", 4), ("Y Q=", 1),
     ("YQ==YQ==", 2), ("é", 0), ("\\u0000", 0), ("YWJjZ", 5)],
)  # fmt: skip
def test_bad_base64_is_refused_with_its_place(text, position):
    problem = refusal(regatta_pb2.RangeRequest, f'{{"table":"{text}"}}')
    assert problem == f"table: illegal base64 data at input byte {position}"


def test_null_is_absent_and_unknown_fields_are_ignored():
    body = '{"key":null,"limit":null,"lease":{"deep":[1,{}]},"table":"YQ==","":0}'
    assert decoded(regatta_pb2.RangeRequest, body) == regatta_pb2.RangeRequest(table=b"a")


@pytest.mark.parametrize("text", ['"CLUSTER"', "1", "1.0"])
def test_enums_are_read_by_name_or_number(text):
    assert decoded(regatta_pb2.ResetRequest, f'{{"operation":{text}}}').operation == 1


def test_unknown_enum_numbers_pass_and_names_do_not():
    assert decoded(regatta_pb2.ResetRequest, '{"operation":77}').operation == 77
    problem = refusal(regatta_pb2.ResetRequest, '{"operation":"MOON"}')
    assert problem == 'operation: unknown value "MOON"'


def test_an_enum_name_that_is_no_text_is_refused():
    problem = refusal(regatta_pb2.ResetRequest, '{"operation":"\\ud800"}')
    assert problem == "operation: a lone surrogate is no character"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"keys_only":"true"}', "keys_only: not true or false"),
        ('{"keys_only":1}', "keys_only: not true or false"),
        ('{"table":5}', "table: not a base64 string"),
        ("[]", "the body is not an object"),
        ('"x"', "the body is not an object"),
    ],
)
def test_wrong_types_are_refused_by_field(body, problem):
    assert refusal(regatta_pb2.RangeRequest, body) == problem


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"success":[{"request_put":{"key":"!"}}]}',
         "success[0].request_put.key: illegal base64 data at input byte 0"),
        ('{"success":{}}', "success: not an array"),
        ('{"success":[{},null]}', "success[1]: not an object"),
        ('{"success":[{"requestPut":[]}]}', "success[0].request_put: not an object"),
        ('{"success":[{"request_put":{},"request_range":{}}]}',
         "success[0].request_range: another field of request is set"),
        ('{"compare":[{},{"result":"MORE"}]}', 'compare[1].result: unknown value "MORE"'),
    ],
)  # fmt: skip
def test_errors_lead_to_the_nested_field(body, problem):
    assert refusal(regatta_pb2.TxnRequest, body) == problem


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"table":"YQ==","table":"YQ=="}', 'illegal JSON: "table" is given twice'),
        ('{"table":null,"table":"YQ=="}', 'illegal JSON: "table" is given twice'),
        ('{"new":[{"a":{},"\\u0061":1}]}', 'illegal JSON: "a" is given twice'),
        ('{"success":[],"failure":[{"request_put":{"prevKv":true,"prev_kv":true}}]}',
         "failure[0].request_put.prev_kv: given twice, in two spellings"),
    ],
)  # fmt: skip
def test_what_is_given_twice_is_refused(body, problem):
    assert refusal(regatta_pb2.TxnRequest, body) == problem


def test_an_empty_message_in_a_oneof_is_set():
    request = decoded(regatta_pb2.TxnRequest, '{"success":[{"request_range":{}}]}')
    assert request.success[0].WhichOneof("request") == "request_range"


@pytest.mark.parametrize("body", ["{", "{]", "{} {}", "'a'", '{"a":1,}', '"\x01"', "\x00", "}"])
def test_malformed_json_is_refused(body):
    assert refusal(regatta_pb2.RangeRequest, body).startswith("illegal JSON: ")


def test_bytes_that_are_not_utf8_are_refused():
    assert refusal(regatta_pb2.RangeRequest, b'{"\xff":1}') == "illegal JSON: not UTF-8 at byte 2"


def nested(depth: int) -> str:
    """Return an object with an unknown field, *depth* levels deep in all."""
    return '{"x":' + "[" * (depth - 1) + "0" + "]" * (depth - 1) + "}"


@pytest.mark.parametrize("depth", [1, 2, limits.json_depth_max])
def test_nesting_up_to_the_bound_is_read(depth):
    assert decoded(regatta_pb2.RangeRequest, nested(depth)) == regatta_pb2.RangeRequest()


@pytest.mark.parametrize("depth", [limits.json_depth_max + 1, 900, 5_000, 2_000_000])
def test_deeper_nesting_is_refused(depth):
    assert "nested deeper than 32 levels" in refusal(regatta_pb2.RangeRequest, nested(depth))


def test_wide_bodies_are_not_taken_for_deep_ones():
    body = '{"x":[' + ",".join(["[[],{}]"] * 1000) + "]}"
    assert decoded(regatta_pb2.RangeRequest, body) == regatta_pb2.RangeRequest()


def test_integers_of_many_digits_are_refused_and_not_computed():
    digits = "9" * 1_000_000
    for text in (digits, f'"{digits}"', f"{digits}.0"):
        refusal(regatta_pb2.RangeRequest, f'{{"limit":{text}}}')


# Against protobuf's own mapping

int64s = st.integers(-(2**63), 2**63 - 1)
pairs = st.builds(
    mvcc_pb2.KeyValue,
    key=st.binary(max_size=8),
    value=st.binary(max_size=8),
    create_revision=int64s,
    mod_revision=int64s,
)
compares = st.builds(
    mvcc_pb2.Compare,
    result=st.integers(0, 3),
    key=st.binary(max_size=8),
    range_end=st.binary(max_size=8),
) | st.builds(mvcc_pb2.Compare, key=st.binary(max_size=8), value=st.binary(max_size=8))
operations = (
    st.builds(mvcc_pb2.RequestOp)
    | st.builds(lambda key: mvcc_pb2.RequestOp(request_put={"key": key}), st.binary(max_size=8))
    | st.builds(lambda n: mvcc_pb2.RequestOp(request_range={"limit": n}), int64s)
)
messages = (
    st.builds(regatta_pb2.TxnRequest, table=st.binary(max_size=8),
              compare=st.lists(compares, max_size=3), success=st.lists(operations, max_size=3))
    | st.builds(regatta_pb2.RangeResponse, kvs=st.lists(pairs, max_size=3), more=st.booleans(),
                count=int64s)
    | st.builds(regatta_pb2.ResetRequest, operation=st.integers(0, 5),
                member_id=st.integers(0, 2**64 - 1))
)  # fmt: skip


@given(messages)
def test_output_equals_that_of_json_format(message):
    expected = json_format.MessageToDict(message, preserving_proto_field_name=True)
    assert json.loads(json_codec.encode(message)) == expected


@given(messages, st.booleans())
def test_what_json_format_writes_is_read_back(message, snake_case):
    text = json_format.MessageToJson(message, preserving_proto_field_name=snake_case)
    assert decoded(type(message), text) == message


@given(messages)
def test_our_own_output_is_read_back(message):
    assert decoded(type(message), json_codec.encode(message)) == message


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6) | st.binary(max_size=6).map(lambda data: base64.b64encode(data).decode())
    | st.sampled_from(["CLUSTER", "NODE", "1", "-1", "1.0"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["key", "value", "limit", "request_put", "x"]), inner),
    max_leaves=8,
)  # fmt: skip
fields = st.sampled_from(
    ["table", "key", "rangeEnd", "range_end", "limit", "keysOnly", "compare", "success",
     "operation", "memberId", "other"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first text costs a second
@given(
    st.sampled_from([regatta_pb2.RangeRequest, regatta_pb2.TxnRequest, regatta_pb2.ResetRequest]),
    st.dictionaries(fields, values, max_size=4),
)
def test_any_json_is_either_read_as_json_format_does_or_refused(message_class, value):
    text = json.dumps(value)
    try:
        ours = decoded(message_class, text)
    except InvalidArgument:
        return
    try:
        theirs = json_format.Parse(text, message_class(), ignore_unknown_fields=True)
    except json_format.ParseError:
        return  # we accept more
    assert ours == theirs


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(body):
    try:
        decoded(regatta_pb2.TxnRequest, body)
    except InvalidArgument:
        return
