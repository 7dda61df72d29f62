"""The mesh that is checked: calls, and what several checks need of it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from recmesh.bearer import Token
from recmesh.channels import ChannelPolicy, open_channel
from recmesh.cli.unlogged import Unlogged
from recmesh.cli.verify.faults import Unmet
from recmesh.client import AS, RECALL, UM, Mesh, Method, Request, Response, Targets, check_answer
from recmesh.contract import POPULAR, PORTS, ServiceName
from recmesh.errors import RecmeshError
from recmesh.pb.as_pb2 import ASRequest
from recmesh.pb.recall_pb2 import RecallRequest
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.tls import TlsFiles

_SAMPLE, _LEAST = 20, 2
_POLICY = ChannelPolicy(keepalive_ms=30_000, keepalive_timeout_ms=5_000, resolution_interval_ms=1_000)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the mesh is, and what this caller shows.

    Attributes:
        targets: The gRPC targets.
        http_targets: `host:port` of the HTTP ports that are checked, by service.
        tls: None for plain text.
        token: Returns the bearer token; None for none.
    """

    targets: Targets
    http_targets: Mapping[ServiceName, str] = field(default_factory=dict)
    tls: TlsFiles | None = None
    token: Token | None = None

    @classmethod
    def http_targets_of(cls, environment: Mapping[str, str]) -> dict[ServiceName, str]:
        """The HTTP ports that variables name: `RECMESH_AS_HTTP_TARGET`, `RECMESH_FEED_HTTP_TARGET`."""
        named = {service: environment.get(f"RECMESH_{service.upper()}_HTTP_TARGET", "") for service in PORTS}
        return {service: target for service, target in named.items() if target}


class Session:
    """Calls of one run.

    Attributes:
        place: Where the mesh is.
        users: Ids of users who are stored.
        timeout: Seconds for a call.
        unknown_id: An id that no user and no item has.
    """

    def __init__(self, place: Place, mesh: Mesh, users: Sequence[str], timeout: float) -> None:
        """Start without having asked anything."""
        self.place = place
        self.users = users
        self.timeout = timeout
        self.unknown_id = f"recmesh-verify-{uuid.uuid4().hex}"
        self._mesh = mesh
        self._user: UserModelResponse | None = None
        self._sku_ids: Sequence[str] = ()

    @classmethod
    def mesh_of(cls, place: Place, timeout: float) -> Mesh:
        """What calls the mesh: its calls can wait, and `as` does not log its answers."""
        return Mesh(
            place.targets,
            timeout=timeout,
            retry_overload=True,
            tls=place.tls,
            token=place.token,
            interceptors=[Unlogged()],
        )

    async def call(self, method: Method[Request, Response], request: Request) -> Response:
        """Call a method. See `Mesh.call`."""
        return await self._mesh.call(method, request)

    async def need(self, method: Method[Request, Response], request: Request) -> Response:
        """Call a method of a service that is not the one in question.

        Raises:
            Unmet: It does not answer, or reports a failure.
        """
        try:
            answer = await self.call(method, request)
            check_answer(method, answer)
        except RecmeshError as error:
            raise Unmet(f"needs {method.service}: {error}") from None
        return answer

    async def call_without_deadline(self, method: Method[Request, Response], request: Request) -> Response:
        """Call a method as legacy clients do. The caller limits the time.

        Raises:
            grpc.aio.AioRpcError: The call failed.
        """
        place = self.place
        async with open_channel(
            place.targets[method.service], _POLICY, tls=place.tls, token=place.token, interceptors=[Unlogged()]
        ) as channel:
            stub = channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            return cast("Response", await stub(request))

    async def user(self) -> UserModelResponse:
        """The first of the stored users, as um has them.

        Raises:
            Unmet: um did not give them.
        """
        if self._user is None:
            self._user = await self.need(UM, UserModelRequest(user_id=self.users[0]))
        return self._user

    async def sku_ids(self) -> Sequence[str]:
        """Ids of items that are offered, two at least: those that `as` gives nobody, or recall if `as` does not answer.

        Raises:
            Unmet: Neither answers, or there are fewer.
        """
        if not self._sku_ids:
            try:
                self._sku_ids = await self._recommended()
            except Unmet as error:
                self._sku_ids = await self._popular(str(error))
        if len(self._sku_ids) < _LEAST:
            raise Unmet(f"needs {_LEAST} items, but as recommends {len(self._sku_ids)}")
        return self._sku_ids

    async def _recommended(self) -> list[str]:
        answer = await self.need(AS, ASRequest(size=_SAMPLE))
        return [item.sku_id for item in answer.item_infos]

    async def _popular(self, fault: str) -> list[str]:
        try:
            answer = await self.need(RECALL, RecallRequest(recall_type=POPULAR, request_num=_SAMPLE))
        except Unmet as error:
            raise Unmet(f"{fault}; {error}") from None
        return [pair.nid for pair in answer.score_pairs]
