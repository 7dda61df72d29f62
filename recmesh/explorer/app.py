"""The web application: one function a page. All pages are read with GET, and nothing is stored."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from recmesh.chain.popular import PopularList
from recmesh.client import Targets
from recmesh.contract import CHAIN_CANDIDATES, without_credentials
from recmesh.errors import InvalidRequest, RecmeshError, ReleaseError, Unavailable
from recmesh.evaluation import METRICS_FILE, PAGE_FILE, Report
from recmesh.evaluation.report import Example
from recmesh.explorer.answers import Explained, Explorer, Feature, Row
from recmesh.explorer.inquiry import Inquiry
from recmesh.explorer.items import shown
from recmesh.explorer.pages import templates
from recmesh.explorer.recorder import Stages
from recmesh.explorer.releases import ReleaseShelf
from recmesh.explorer.search import ItemIndex
from recmesh.releases import Manifest, ModelStore
from recmesh.serving import background, following
from recmesh.serving.channels import open_channel
from recmesh.serving.stages import RemoteCandidateStage, RemoteItemStage, RemoteRankStage, RemoteUserStage
from recmesh.tls import TlsFiles

_POLL_SECONDS, _POPULAR_SECONDS = 2.0, 30.0
_MAX_FOUND = 50
_MAX_ROWS = 50
_LOOPBACK = ("127.0.0.1", "localhost")
_SIDES = ("left_", "right_")
_STATUS: dict[type[RecmeshError], int] = {InvalidRequest: 400, ReleaseError: 404, Unavailable: 503}
_ORDERS = {
    "recall": lambda row: row.recalled,
    "rank": lambda row: row.ranked or row.recalled,
    "debiased": lambda row: -(row.debiased or 0.0),
}


@dataclass(frozen=True)
class Settings:
    """Where the explorer finds things.

    Attributes:
        targets: Of the services.
        store: URL of the model store.
        home: Folder for copies of releases.
        host: Address that the pages are served at.
        candidates: Number of candidates that `as` asks for.
        images: Whether pages load images from the hosts that items name.
    """

    targets: Targets
    store: str
    home: Path
    host: str
    candidates: int = CHAIN_CANDIDATES
    images: bool = False


@dataclass
class Catalogue:
    """What the model store says, for forms and notices.

    Attributes:
        active: Id of the active release; empty if there is none.
        releases: All releases, newest first.
        problem: Why the store does not answer; empty if it does.
    """

    active: str = ""
    releases: list[Manifest] = field(default_factory=list)
    problem: str = ""


class Pages:
    """The pages, each a function from a request to a response."""

    def __init__(self, settings: Settings) -> None:
        """Prepare the pages; `lifespan` connects them to the mesh."""
        self._settings = settings
        self._templates: Environment = templates()
        self._store = ModelStore(settings.store)
        self._index = ItemIndex()
        self._examples: dict[str, list[Example]] = {}
        self._explorer: Explorer

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Hold the channels to the mesh, and follow the active release."""
        async with AsyncExitStack() as stack:
            targets, tls = self._settings.targets, TlsFiles.from_environment()
            um, recall, rank, cm = [
                await stack.enter_async_context(open_channel(targets[name], tls))
                for name in ("um", "recall", "rank", "cm")
            ]
            stages = Stages(
                RemoteUserStage(um), RemoteCandidateStage(recall), RemoteRankStage(rank), RemoteItemStage(cm)
            )
            popular = PopularList(stages.candidates)
            shelf = ReleaseShelf(self._store, self._settings.home / "releases")
            self._explorer = Explorer(stages, popular, shelf, self._settings.candidates)
            await stack.enter_async_context(background(popular.follow(_POPULAR_SECONDS)))
            following_release = following.follow("explorer", self._store, _POLL_SECONDS, self._switch_to)
            await stack.enter_async_context(background(following_release))
            yield

    async def explore(self, request: Request) -> Response:
        """One user: profile, history, candidates, the final list and its reasons."""
        inquiry = Inquiry.of(request.query_params)
        catalogue = await self._catalogue()
        explained, error = await self._explain(inquiry, catalogue)
        channel, category = request.query_params.get("channel", ""), request.query_params.get("category", "")
        order = request.query_params.get("order", "recall")
        rows = _ordered(explained.matching(channel, category), order) if explained else []
        return self._page(
            "explore",
            error,
            catalogue=catalogue,
            examples=await self._examples_of(catalogue.active),
            inquiry=inquiry,
            explained=explained,
            rows=rows if "all" in request.query_params else rows[:_MAX_ROWS],
            matching=len(rows),
            chosen={"channel": channel, "category": category, "order": order, "all": request.query_params.get("all")},
        )

    async def compare(self, request: Request) -> Response:
        """Two users, or two releases, side by side."""
        inquiries = [Inquiry.of(request.query_params, side) for side in _SIDES]
        catalogue = await self._catalogue()
        answers = [await self._explain(inquiry, catalogue) for inquiry in inquiries]
        if all(inquiry.is_empty for inquiry in inquiries):
            answers = []
        error = next((error for _, error in answers if error), None)
        places = [
            {row.item.sku_id: row.place for row in explained.final} if explained else {} for explained, _ in answers
        ]
        return self._page(
            "compare",
            error,
            catalogue=catalogue,
            examples=await self._examples_of(catalogue.active),
            sides=list(zip(_SIDES, ("Left", "Right"), inquiries, strict=True)),
            answers=[(explained, others) for (explained, _), others in zip(answers, reversed(places), strict=True)],
            shared=len(places[0].keys() & places[1].keys()) if places else 0,
        )

    async def items(self, request: Request) -> Response:
        """Search of items by text."""
        text = request.query_params.get("text", "").strip()
        found = self._index.search(text, _MAX_FOUND)
        error: RecmeshError | None = None
        fields: Mapping[str, Mapping[str, str]] = {}
        try:
            fields = await self._explorer.look_up(found)
        except RecmeshError as failure:
            error = failure
        shown_items = [shown(sku_id, fields.get(sku_id, {})) for sku_id in found]
        catalogue = await self._catalogue()
        return self._page(
            "items", error, catalogue=catalogue, text=text, found=shown_items, index=self._index, limit=_MAX_FOUND
        )

    async def item(self, request: Request) -> Response:
        """An item: its fields, and its scores and features for a user."""
        sku_id, inquiry = request.query_params.get("item", ""), Inquiry.of(request.query_params)
        catalogue = await self._catalogue()
        row: Row | None = None
        features: list[Feature] = []
        fields: Mapping[str, str] = {}
        explained, error = await self._explain(inquiry, catalogue)
        try:
            fields = (await self._explorer.look_up([sku_id])).get(sku_id, {})
            if explained is not None:
                row = next((row for row in explained.rows if row.item.sku_id == sku_id), None)
                features = await self._explorer.features(explained, sku_id)
        except RecmeshError as failure:
            error = error or failure
        found = shown(sku_id, fields)
        return self._page(
            "item",
            error,
            catalogue=catalogue,
            item=found,
            inquiry=inquiry,
            explained=explained,
            row=row,
            features=features,
        )

    async def report(self, request: Request) -> Response:
        """The report that training wrote about a release; of the active one by default."""
        release_id = request.path_params.get("release", "")
        try:
            if not release_id:
                active = await asyncio.to_thread(self._store.active)
                if not active:
                    raise ReleaseError(f"model store {without_credentials(self._store.url)}: no release is active")
                return RedirectResponse(f"/report/{active}")
            return HTMLResponse(await asyncio.to_thread(self._store.read, release_id, PAGE_FILE), headers=_headers(""))
        except RecmeshError as error:
            return self._page("problem", error, catalogue=await self._catalogue())

    async def _switch_to(self, release_id: str) -> None:
        release = await self._explorer.shelf.get(release_id)
        await self._index.fill(release_id, release.encoder.catalogue.sku_ids, self._explorer.stages.items)

    async def _catalogue(self) -> Catalogue:
        try:
            active = await asyncio.to_thread(self._store.active)
            return Catalogue(active or "", await self._explorer.shelf.list())
        except RecmeshError as error:
            return Catalogue(problem=str(error))

    async def _examples_of(self, release_id: str) -> list[Example]:
        """The held-out users that a release's report shows; none if it has no report."""
        if release_id and release_id not in self._examples:
            try:
                content = await asyncio.to_thread(self._store.read, release_id, METRICS_FILE)
                segments = Report.parse(content, METRICS_FILE).segments.values()
            except RecmeshError:
                return []
            self._examples = {release_id: [example for segment in segments for example in segment.examples]}
        return self._examples.get(release_id, [])

    async def _explain(self, inquiry: Inquiry, catalogue: Catalogue) -> tuple[Explained | None, RecmeshError | None]:
        if inquiry.is_empty:
            return None, None
        try:
            return await self._explorer.explain(inquiry, catalogue.active), None
        except RecmeshError as error:
            return None, error

    def _page(self, name: str, error: RecmeshError | None, **values: Any) -> HTMLResponse:
        html = self._templates.get_template(f"{name}.html.j2").render(
            page=name,
            error=_one_line(error, self._settings.targets) if error else "",
            images=self._settings.images,
            **values,
        )
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 502) if error else 200
        return HTMLResponse(html, status, _headers(" http: https:" if self._settings.images else ""))


def application(settings: Settings) -> Starlette:
    """Make the application."""
    pages = Pages(settings)
    hosts = list(_LOOPBACK) if settings.host in _LOOPBACK else ["*"]
    return Starlette(
        routes=[
            Route("/", pages.explore),
            Route("/compare", pages.compare),
            Route("/items", pages.items),
            Route("/item", pages.item),
            Route("/report", pages.report),
            Route("/report/{release}", pages.report),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
        ],
        # On loopback, a foreign page must not read answers through a name that it points here.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        lifespan=pages.lifespan,
    )


def _ordered(rows: list[Row], order: str) -> list[Row]:
    return sorted(rows, key=_ORDERS.get(order, _ORDERS["recall"]))


def _headers(image_hosts: str) -> dict[str, str]:
    policy = (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
        f"img-src data:{image_hosts}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


def _one_line(error: RecmeshError, targets: Targets) -> str:
    """The error in one line that says what to do."""
    text = " ".join(str(error).split())
    if not isinstance(error, Unavailable):
        return text
    places = ", ".join(f"{name} {target}" for name, target in targets.by_service.items() if name != "as")
    return f"The mesh does not answer ({text}). Start it (make up), or set RECMESH_<SERVICE>_TARGET; now: {places}"
