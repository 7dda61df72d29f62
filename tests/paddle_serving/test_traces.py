"""The call to Paddle Serving is a span of the request."""

from recmesh.pb.as_pb2 import ASRequest
from services.rank.paddle_serving import wire
from tests.calls import AS
from tests.mesh.test_faults import wait_until_not_degraded
from tests.mesh.test_traces import SAMPLED, TRACE_ID, settings
from tests.otlp import grpc_receiver
from tests.paddle_serving.conftest import LONG_TIMEOUT, Gateway, with_paddle_serving
from tests.processes import running
from tests.servers import wait_until
from tests.shop import Shop


def test_the_ranker_runs_in_a_call_to_paddle_serving(paddle_serving: Gateway, trained_shop: Shop) -> None:
    user_id = trained_shop.user_ids[0]
    with grpc_receiver() as receiver:
        environment = {**with_paddle_serving(trained_shop, paddle_serving), **LONG_TIMEOUT, **settings(receiver)}
        with running("compact", environment) as service:
            wait_until_not_degraded(service.target("as"), service, user_id)
            AS.call(service.target("as"), ASRequest(user_id=user_id), 30, SAMPLED)
            wait_until(lambda: len(receiver.trace(TRACE_ID)) >= 11, service, "the spans")

    spans = receiver.trace(TRACE_ID)
    (rank,) = (span for span in spans if span.name == "rank")
    (call,) = (span for span in spans if span.name == wire.INFERENCE[1:])
    assert (call.kind, call.parent_id, call.failed) == ("client", rank.span_id, False)
    assert call.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": wire.INFERENCE[1:],
        "rpc.response.status_code": "OK",
        "server.address": "127.0.0.1",
        "server.port": int(paddle_serving.address.rpartition(":")[2]),
    }
    assert "run ranker" not in {span.name for span in spans}
