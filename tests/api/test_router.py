"""The router over real sessions; only the bytes between client and server do not touch a socket."""

import asyncio
import gc
import logging
import weakref

import pytest
from peer import Peer
from peer import router_of
from services import Data
from services import Kinds
from services import Store
from services import Upkeep

from regatta import limits
from regatta.api.service import Policy
from regatta.api.service import methods_of
from regatta.api.standard import with_standard_services
from regatta.errors import Code
from regatta.errors import RegattaError
from regatta.http2 import live_streams
from regatta.pb import regatta_pb2


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = live_streams()
    yield
    assert live_streams() == before


@pytest.fixture
def kinds() -> Kinds:
    return Kinds()


def data(content: bytes = b"") -> bytes:
    return Data(data=content).SerializeToString()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def connected(*services) -> Peer:
    return Peer(router_of(Store(), Upkeep(), *services))


class Held:
    """A unary handler that waits until it is let go, and remembers what became of it."""

    def __init__(self, *, proposed: bool = False) -> None:
        self.proposed = proposed
        self.go = asyncio.Event()
        self.running = self.running_most = self.cancelled = 0

    async def __call__(self, request, context):
        context.proposed = self.proposed
        self.running += 1
        self.running_most = max(self.running_most, self.running)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return request


# The four kinds of call


async def test_a_unary_call_has_one_answer(kinds):
    peer = connected(kinds)
    answer = await peer.call("/tests.Kinds/Unary", data(b"x")).end()
    assert (answer.status, answer.messages) == ((0, ""), [data(b"x")])
    peer.close()


async def test_an_answer_in_bytes_is_sent_as_it_is():
    peer = connected()
    request = regatta_pb2.PutRequest(table=b"t", key=b"k", value=b"v").SerializeToString()
    answer = await peer.call("/regatta.v1.KV/Put", request).end()
    assert regatta_pb2.PutResponse.FromString(answer.messages[0]).header.shard_id == 10001
    peer.close()


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_a_server_stream_has_all_answers_in_order(kinds, count):
    peer = connected(kinds)
    answer = await peer.call("/tests.Kinds/ServerStream", data(bytes([count]))).end()
    assert answer.status == (0, "")
    assert answer.messages == [data(bytes([number])) for number in range(count)]
    peer.close()


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_a_client_stream_has_all_requests_in_order(kinds, count):
    peer = connected(kinds)
    call = peer.call("/tests.Kinds/ClientStream", end=False)
    for number in range(count):
        call.send(data(bytes([number])))
        await settle()
    call.send(end=True)
    await call.end()
    assert (call.status, call.messages) == ((0, ""), [data(bytes(range(count)))])
    peer.close()


async def test_a_bidirectional_stream_answers_before_it_has_all_requests(kinds):
    peer = connected(kinds)
    call = peer.call("/tests.Kinds/BothStream", end=False)
    for number in range(3):
        call.send(data(b"%d" % number))
        await settle()
        assert call.messages == [data(b"%d" % index) for index in range(number + 1)]
    call.send(end=True)
    await call.end()
    assert (call.status, call.messages[-1]) == ((0, ""), data(b"end"))
    peer.close()


# Calls that cannot be served


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/other.Service/Range", "unknown service other.Service"),
        ("/regatta.v1.KV/range", "unknown method range for service regatta.v1.KV"),
        ("/regatta.v1.KV/", "unknown method  for service regatta.v1.KV"),
        ("/regatta.v1.KV", "malformed method name: /regatta.v1.KV"),
        ("/", "malformed method name: /"),
    ],
)
async def test_an_unknown_method_is_unimplemented(path, text):
    peer = connected()
    # At once: before the request has ended.
    call = await peer.call(path, end=False).end()
    assert call.status == (Code.UNIMPLEMENTED, text)
    peer.close()


@pytest.mark.parametrize("method", ["Unary", "ServerStream", "ClientStream", "BothStream"])
async def test_an_undecodable_message_is_an_invalid_argument(kinds, method):
    peer = connected(kinds)
    call = await peer.call(f"/tests.Kinds/{method}", b"\xff\xff").end()
    text = "cannot decode tests.Data: the tag at byte 0: cut short"
    assert call.status == (Code.INVALID_ARGUMENT, text)
    peer.close()


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
@pytest.mark.parametrize(("messages", "found"), [([], "none"), ([data(), data()], "more")])
async def test_one_request_message_is_neither_none_nor_two(kinds, method, messages, found):
    peer = connected(kinds)
    call = await peer.call(f"/tests.Kinds/{method}", *messages).end()
    text = f"/tests.Kinds/{method} takes one request message, got {found}"
    assert call.status == (Code.UNIMPLEMENTED, text)
    peer.close()


def test_a_service_without_a_handler_or_policy_is_refused(kinds):
    kinds.policies.pop("Unary")
    with pytest.raises(TypeError, match=r"no policy for tests\.Kinds\.Unary"):
        methods_of([kinds])
    forgetful = type("Forgetful", (), {"descriptor": kinds.descriptor, "policies": {}})()
    with pytest.raises(TypeError, match=r"Forgetful has no handler for tests\.Kinds\.Unary"):
        methods_of([forgetful])


# Errors of handlers


@pytest.mark.parametrize("code", [code for code in Code if code != Code.OK])
async def test_an_error_reaches_the_client_with_code_and_text(kinds, code):
    async def fail(request, context):
        error = RegattaError("why: 100 % é")
        error.code = code
        raise error

    kinds.unary = fail
    peer = connected(kinds)
    call = await peer.call("/tests.Kinds/Unary", data()).end()
    assert (call.status, call.messages) == ((code, "why: 100 % é"), [])
    peer.close()


async def test_an_error_after_some_answers_ends_the_stream_with_it(kinds):
    async def fail_later(request, context):
        yield request
        raise RegattaError("later")

    kinds.server_stream = fail_later
    peer = connected(kinds)
    call = await peer.call("/tests.Kinds/ServerStream", data(b"x")).end()
    assert (call.status, call.messages) == ((Code.UNKNOWN, "later"), [data(b"x")])
    peer.close()


async def test_a_fault_is_logged_once_and_not_told(kinds, caplog):
    async def fail(request, context):
        raise RuntimeError("secret")

    kinds.unary = fail
    peer = connected(kinds)
    call = await peer.call("/tests.Kinds/Unary", data()).end()
    assert call.status == (Code.INTERNAL, "internal error")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("server.api", logging.ERROR)
    assert "/tests.Kinds/Unary" in record.getMessage()
    assert "secret" in caplog.text
    peer.close()


async def test_what_a_client_does_wrong_is_not_logged(caplog):
    peer = connected()
    await peer.call("/other/Range").end()
    await peer.call("/regatta.v1.KV/Range", b"\xff").end()
    assert not caplog.records
    peer.close()


# Deadlines


def timeout(text: str) -> tuple:
    return (("grpc-timeout", text),)


@pytest.mark.parametrize("method", ["Unary", "ClientStream"])
async def test_a_call_ends_at_the_clients_deadline(kinds, method):
    kinds.unary = kinds.client_stream = held = Held()
    peer = connected(kinds)
    call = await peer.call(f"/tests.Kinds/{method}", data(), headers=timeout("20m")).end()
    assert call.status == (Code.DEADLINE_EXCEEDED, "context deadline exceeded")
    assert (held.running, held.cancelled) == (0, 1)
    peer.close()


async def test_a_call_ends_at_the_default_deadline_of_its_method():
    kinds = Kinds(Unary=Policy(0.02))
    kinds.unary = Held()
    peer = connected(kinds)
    call = await peer.call("/tests.Kinds/Unary", data()).end()
    assert call.status == (Code.DEADLINE_EXCEEDED, "context deadline exceeded")
    peer.close()


async def test_a_proposed_write_may_take_effect_after_its_deadline(kinds):
    kinds.unary = Held(proposed=True)
    peer = connected(kinds)
    call = await peer.call("/tests.Kinds/Unary", data(), headers=timeout("20m")).end()
    text = "context deadline exceeded: the write may still take effect"
    assert call.status == (Code.DEADLINE_EXCEEDED, text)
    peer.close()


async def test_a_request_that_never_ends_meets_the_deadline_too(kinds):
    peer = connected(kinds)
    call = await peer.call("/tests.Kinds/Unary", end=False, headers=timeout("20m")).end()
    assert call.status == (Code.DEADLINE_EXCEEDED, "context deadline exceeded")
    peer.close()


async def ticking(request, context):
    """Answer three times, with pauses longer than the opening may take."""
    for _ in range(3):
        yield request
        await asyncio.sleep(0.05)


async def test_the_default_deadline_of_a_stream_is_for_its_opening_only():
    kinds = Kinds(ServerStream=Policy(0.03))
    kinds.server_stream = ticking
    peer = connected(kinds)
    call = await peer.call("/tests.Kinds/ServerStream", data()).end()
    assert (call.status, len(call.messages)) == ((0, ""), 3)
    peer.close()


async def test_the_clients_deadline_of_a_stream_is_for_all_of_it(kinds):
    kinds.server_stream = ticking
    peer = connected(kinds)
    call = await peer.call("/tests.Kinds/ServerStream", data(), headers=timeout("70m")).end()
    assert call.status[0] == Code.DEADLINE_EXCEEDED
    assert 1 <= len(call.messages) < 3
    peer.close()


async def test_a_stream_that_never_opens_meets_the_default_deadline():
    async def silent(request, context):
        await asyncio.sleep(60)
        yield request

    kinds = Kinds(ServerStream=Policy(0.03))
    kinds.server_stream = silent
    peer = connected(kinds)
    call = await peer.call("/tests.Kinds/ServerStream", data()).end()
    assert call.status[0] == Code.DEADLINE_EXCEEDED
    peer.close()


# Cancellation


@pytest.mark.parametrize("path", ["/tests.Kinds/Unary", "/tests.Kinds/ServerStream"])
async def test_a_cancelled_call_lets_go_of_all_at_once(kinds, path):
    """What handlers hold are snapshots: one that waits for the collector keeps pages from reuse."""
    held: list[weakref.ref[Held]] = []

    async def hold(request, context):
        snapshot = Held()
        held.append(weakref.ref(snapshot))
        await asyncio.sleep(60)

    async def hold_and_yield(request, context):
        await hold(request, context)
        yield request

    kinds.unary, kinds.server_stream = hold, hold_and_yield
    peer = connected(kinds)
    gc.disable()
    try:
        call = peer.call(path, data())
        await settle()
        assert held[0]() is not None
        call.reset()
        await settle()
        assert held[0]() is None
    finally:
        gc.enable()
    peer.close()


@pytest.mark.parametrize("leave", ["reset", "vanish"])
async def test_a_client_that_goes_away_cancels_its_handlers(kinds, leave):
    kinds.unary = held = Held()
    router = router_of(Store(), Upkeep(), kinds)
    peer = Peer(router)
    calls = [peer.call("/tests.Kinds/Unary", data()) for _ in range(3)]
    await settle()
    assert held.running == 3
    if leave == "reset":
        for call in calls:
            call.reset()
    else:
        peer.close()
    await settle()
    assert (held.running, held.cancelled) == (0, 3)
    assert not router.exchanges
    peer.close()


async def test_a_stream_whose_client_goes_away_is_closed(kinds):
    closed = asyncio.Event()

    async def endless(request, context):
        try:
            while True:
                yield request
                await asyncio.sleep(0)
        finally:
            closed.set()

    kinds.server_stream = endless
    peer = connected(kinds)
    call = peer.call("/tests.Kinds/ServerStream", data(b"x"))
    await settle()
    assert call.messages
    call.reset()
    await settle()
    assert closed.is_set()
    peer.close()


async def test_a_call_reset_before_its_task_began_leaves_nothing(kinds):
    kinds.unary = held = Held()
    router = router_of(Store(), Upkeep(), kinds)
    peer = Peer(router)
    peer.call("/tests.Kinds/Unary", data()).reset()
    await settle()
    assert (held.running_most, len(router.exchanges)) == (0, 0)
    peer.close()


# Stopping


async def test_close_ends_all_calls_and_refuses_new_ones(kinds):
    kinds.unary = held = Held()
    router = router_of(Store(), Upkeep(), kinds)
    peer = Peer(router)
    calls = [peer.call("/tests.Kinds/Unary", data()), peer.call("/tests.Kinds/ClientStream")]
    rest = peer.http("POST", "/v1/maintenance/hash")
    late = peer.call("/tests.Kinds/Unary", data())
    await settle()
    assert held.running == 2
    await router.close()
    assert not router.exchanges
    assert len(asyncio.all_tasks()) == 2  # this test and its time limit
    for call in [calls[0], late, peer.call("/tests.Kinds/Unary", data())]:
        assert (await call.end()).status == (Code.UNAVAILABLE, "the server is stopping")
    assert (await rest.end()).headers[":status"] == "200"  # it was quicker
    assert (await peer.http("POST", "/v1/maintenance/hash").end()).headers[":status"] == "503"
    peer.close()


async def test_a_write_proposed_before_the_stop_may_still_take_effect(kinds):
    kinds.unary = Held(proposed=True)
    router = router_of(Store(), Upkeep(), kinds)
    peer = Peer(router)
    call = peer.call("/tests.Kinds/Unary", data())
    await settle()
    await router.close()
    text = "the server is stopping: the write may still take effect"
    assert (await call.end()).status == (Code.UNAVAILABLE, text)
    peer.close()


async def test_a_graceful_stop_ends_only_calls_without_a_time_limit(kinds):
    kinds.unary = held = Held()
    services, _ = with_standard_services([Store(), Upkeep(), kinds], reflection=True)
    router = router_of(*services)
    peer = Peer(router)
    short = peer.call("/tests.Kinds/Unary", data())
    endless = [
        peer.call("/grpc.health.v1.Health/Watch", b""),
        peer.call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", end=False),
    ]
    await settle()
    router.end_endless_calls()
    for call in endless:
        assert (await call.end()).status == (Code.UNAVAILABLE, "the server is stopping")
    held.go.set()
    assert (await short.end()).status == (0, "")
    peer.close()


# Back-pressure


def pages(request) -> int:
    return limits.page_bytes_max


async def test_a_stream_makes_its_next_answer_only_when_the_client_took_the_last(kinds):
    made = 0

    async def large(request, context):
        nonlocal made
        for _ in range(10):
            made += 1
            yield Data(data=bytes(1 << 20))

    kinds.server_stream = large
    peer = Peer(router_of(Store(), Upkeep(), kinds), window_bytes=1 << 16)
    call = peer.call("/tests.Kinds/ServerStream", data())
    for _ in range(5):
        await settle()
    assert made == 1
    while not call.ended:
        call.read()
        await settle()
        assert made <= len(call.messages) + 1
    assert (call.status, len(call.messages)) == ((0, ""), 10)
    peer.close()


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
async def test_large_answers_of_many_calls_are_made_as_the_client_takes_them(method):
    page = bytes(1 << 20)
    making = making_most = made = 0

    async def make():
        nonlocal making, making_most, made
        making += 1
        making_most = max(making_most, making)
        await asyncio.sleep(0)
        making -= 1
        made += 1
        return Data(data=page)

    async def unary(request, context):
        return await make()

    async def server_stream(request, context):
        yield await make()

    kinds = Kinds(Unary=Policy(30, pages), ServerStream=Policy(30, pages))
    kinds.unary, kinds.server_stream = unary, server_stream
    peer = Peer(router_of(Store(), Upkeep(), kinds), window_bytes=0)
    calls = [peer.call(f"/tests.Kinds/{method}", data()) for _ in range(256)]
    for _ in range(20):
        await settle()
    together_most = limits.txn_answer_bytes_max // limits.page_bytes_max
    assert making_most == together_most
    # The session takes 8 MiB of answers before it wants no more; those in the making finish.
    assert made <= 8 + together_most
    peer.client.update_settings({4: 1 << 24})
    peer.pump()
    for call in calls:
        assert (await call.end()).status == (0, "")
        assert len(call.messages[0]) > len(page)
        call.data.clear()

    assert (made, making_most) == (256, together_most)
    peer.close()


async def test_small_answers_are_made_all_at_once(kinds):
    kinds.unary = held = Held()
    peer = connected(kinds)
    calls = [peer.call("/tests.Kinds/Unary", data()) for _ in range(200)]
    await settle()
    assert held.running == 200
    held.go.set()
    for call in calls:
        assert (await call.end()).status == (0, "")
    peer.close()


async def test_connections_do_not_wait_for_each_other():
    kinds = Kinds(Unary=Policy(30, lambda request: limits.txn_answer_bytes_max))
    kinds.unary = held = Held()
    router = router_of(Store(), Upkeep(), kinds)
    peers = [Peer(router) for _ in range(3)]
    calls = [peer.call("/tests.Kinds/Unary", data()) for peer in peers for _ in range(2)]
    await settle()
    assert held.running == 3
    held.go.set()
    for call in calls:
        assert (await call.end()).status == (0, "")
    for peer in peers:
        peer.close()


async def test_a_stream_that_is_not_read_does_not_hold_up_the_others():
    async def large(request, context):
        for _ in range(3):
            yield Data(data=bytes(1 << 20))

    kinds = Kinds(ServerStream=Policy(30, pages))
    kinds.server_stream = large
    peer = Peer(router_of(Store(), Upkeep(), kinds), window_bytes=1 << 16)
    stuck, *others = [peer.call("/tests.Kinds/ServerStream", data()) for _ in range(4)]
    while not all(call.ended for call in others):
        for call in others:
            call.read()
        await settle()
    assert not stuck.ended
    while not stuck.ended:
        stuck.read()
        await settle()
    assert len(stuck.messages) == 3
    peer.close()


@pytest.mark.parametrize("bound", ["idle_s_max", "total_s_max"])
async def test_a_stream_that_is_not_read_expires_and_frees_its_snapshot(bound):
    freed = asyncio.Event()

    async def large(request, context):
        try:
            for _ in range(3):
                yield Data(data=bytes(1 << 20))
        finally:
            freed.set()

    kinds = Kinds(ServerStream=Policy(5, pages, **{bound: 0.05}))
    kinds.server_stream = large
    peer = Peer(router_of(Store(), Upkeep(), kinds), window_bytes=1 << 16)
    call = peer.call("/tests.Kinds/ServerStream", data())
    await asyncio.wait_for(freed.wait(), 5)
    while not call.ended:
        call.read()
        await settle()
    assert call.status == (Code.RESOURCE_EXHAUSTED, "snapshot expired")
    assert len(call.messages) == 1
    peer.close()


# REST over HTTP/2


async def test_plain_http_goes_to_rest():
    peer = connected()
    answer = await peer.http("POST", "/v1/maintenance/reset", b"{}").end()
    assert (answer.headers[":status"], bytes(answer.data)) == ("200", b"{}")
    assert answer.headers["content-type"] == "application/json"
    answer = await peer.http("GET", "/v1/maintenance/reset").end()
    assert (answer.headers[":status"], answer.headers["allow"]) == ("405", "POST")
    answer = await peer.http("POST", "/").end()
    assert (answer.headers[":status"], bytes(answer.data)) == ("404", b"Not Found\n")
    peer.close()


async def test_headers_and_peer_reach_the_handler():
    store = Store()
    peer = Peer(router_of(store, Upkeep()))
    request = regatta_pb2.PutRequest(table=b"t", key=b"k").SerializeToString()
    await peer.call("/regatta.v1.KV/Put", request, headers=(("client-api-version", "1"),)).end()
    named = (("grpc-metadata-client-api-version", "1"),)
    await peer.http("POST", "/v1/kv/put", b"{}", headers=named).end()
    loop = asyncio.get_running_loop()
    for context in store.contexts:
        assert context.metadata("client-api-version") == "1"
        assert context.peer == "the peer"
        left_s = context.deadline_s - loop.time()
        assert limits.write_timeout_s - 5 < left_s <= limits.write_timeout_s
    assert len(store.contexts) == 2
    peer.close()


async def test_a_plain_request_that_goes_away_is_cancelled():
    upkeep = Upkeep()
    upkeep.hash = held = Held()
    peer = Peer(router_of(Store(), upkeep))
    request = peer.http("POST", "/v1/maintenance/hash")
    await settle()
    assert held.running == 1
    request.reset()
    await settle()
    assert (held.running, held.cancelled) == (0, 1)
    peer.close()


async def test_a_plain_request_whose_body_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(limits, "write_timeout_s", 0.03)
    router = router_of(Store(), Upkeep())
    peer = Peer(router)
    call = peer.http("POST", "/v1/maintenance/hash", b"{", end=False)
    while router.exchanges:
        await asyncio.sleep(0.01)
    peer.pump()
    assert call.headers[":status"] == "504"
    peer.close()
