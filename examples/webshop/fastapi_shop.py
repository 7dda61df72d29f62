"""A web shop with recommendations, in FastAPI. docs/webshop.md explains it.

pip install recmesh fastapi itsdangerous uvicorn
WEBSHOP_ADMIN_TOKEN=... uvicorn fastapi_shop:app --port 8000
"""

import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.middleware.sessions import SessionMiddleware

from recmesh.client import Action, AnswerFailed, History, InvalidRequest, Item, Mesh, RecmeshError, Recorded

LIST_SIZE = 10
LIST_SECONDS = float(os.environ.get("WEBSHOP_LIST_SECONDS", "0.3"))
"""How long a page waits for its list."""
RECORD_SECONDS, ADMIN_SECONDS = 1.0, 5.0
"""How long a visitor waits until an action is recorded, and an administrator for a change."""
SESSION_ACTIONS = 15
"""Actions of a guest that the session keeps: it is a cookie, of at most 4 KiB."""

log = logging.getLogger("webshop")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one client for the whole process, and close it at the end."""
    async with Mesh() as mesh:  # addresses: RECMESH_AS_TARGET and so on
        app.state.mesh, app.state.popular = mesh, []
        yield


app = FastAPI(lifespan=lifespan)
# Behind TLS, add https_only=True. Several processes need the same secret.
app.add_middleware(SessionMiddleware, secret_key=os.environ.get("WEBSHOP_SECRET") or secrets.token_urlsafe())


@app.exception_handler(RecmeshError)
async def failed(request: Request, error: RecmeshError) -> JSONResponse:
    """Answer for the pages that cannot do without recmesh."""
    log.warning("%s: %s", request.url.path, error)
    return JSONResponse({"detail": str(error)}, 422 if isinstance(error, InvalidRequest) else 503)


# Pages.


@app.get("/")
async def home(request: Request) -> dict[str, Any]:
    """The home page of a user, or of a guest with the actions of the session."""
    return await recommended(request)


@app.get("/products/{sku_id:path}")
async def product(request: Request, sku_id: str) -> dict[str, Any]:
    """The page of a product. A real shop reads the product from its own database."""
    try:
        (item,) = (await request.app.state.mesh.cm([sku_id], timeout=LIST_SECONDS)).found
    except AnswerFailed:
        raise HTTPException(404, f"there is no product {sku_id}") from None
    return {"product": shown(item), **await recommended(request, exclude=[sku_id])}


async def recommended(request: Request, exclude: Sequence[str] = ()) -> dict[str, Any]:
    """A list for the visitor. If recmesh does not answer in time, the last list of a new visitor."""
    state, user_id, history = request.app.state, request.session.get("user_id", ""), guest_history(request)
    try:
        answer = await state.mesh.recommend(
            user_id, size=LIST_SIZE, exclude=exclude, history=history, timeout=LIST_SECONDS
        )
    except RecmeshError as error:
        log.warning("no recommendations: %s", error)
        items, fallback = [item for item in state.popular if item["sku_id"] not in exclude], True
    else:
        items, fallback = [shown(item) for item in answer.items], False
        if not user_id and not history.sku_ids and not exclude:
            state.popular = items
    return {"items": items, "fallback": fallback}


def guest_history(request: Request) -> History:
    """What a guest did in this session, newest first. Nothing for users: recmesh has their history."""
    actions = request.session.get("actions", ())
    columns = zip(*((sku_id, time_ms, kind, 1.0) for _, sku_id, kind, time_ms in actions), strict=True)
    return History(*columns)


def shown(item: Item) -> dict[str, Any]:
    """What a page shows of an item."""
    return {"sku_id": item.sku_id, **item.fields}


# What visitors do.


class Event(BaseModel):
    """An action of a visitor. The page makes the event id, so that a repeated request counts once."""

    sku_id: str = Field(min_length=1, max_length=64)
    type: Literal["view", "cart", "order"]
    event_id: str = Field(min_length=1, max_length=40)


class Login(BaseModel):
    """Who the visitor is. A real shop checks a password."""

    user_id: str = Field(min_length=1, max_length=128)


@app.post("/actions", status_code=202)
async def act(request: Request, event: Event) -> dict[str, bool]:
    """A visitor views a product, puts it into the cart or orders it. Scripts of the pages send the views."""
    action = (event.event_id, event.sku_id, event.type, int(time.time() * 1000))
    if "user_id" in request.session:
        return {"recorded": await record(request, [action])}
    actions = request.session.get("actions", [])
    if event.event_id not in [event_id for event_id, *_ in actions]:
        request.session["actions"] = [action, *actions][:SESSION_ACTIONS]
    return {"recorded": False}


@app.post("/login")
async def login(request: Request, login: Login) -> dict[str, bool]:
    """What a guest did becomes part of the user's history, oldest first."""
    actions = request.session.pop("actions", [])
    request.session["user_id"] = login.user_id
    return {"recorded": await record(request, actions[::-1])}


async def record(request: Request, actions: Sequence[Sequence[Any]]) -> bool:
    """Record what the user did. The shop goes on if that fails: an order is an order."""
    user_id = request.session["user_id"]
    entries = [Action(user_id, sku_id, at, kind, event_id=event_id) for event_id, sku_id, kind, at in actions]
    try:
        recorded = await request.app.state.mesh.record(entries, timeout=RECORD_SECONDS)
    except RecmeshError as error:
        log.error("not recorded, send it again (recmesh feed load): %s: %s", entries, error)
        return False
    for entry in recorded.rejected:
        log.error("not recorded: %s: %s", entries[entry.position], entry.reason)
    return not recorded.rejected


# Administration.


class Stock(BaseModel):
    """Whether a product can be bought."""

    available: bool


def administrator(token: Annotated[str, Header(alias="X-Admin-Token")] = "") -> None:
    """Refuse everybody but administrators. A real shop has logins."""
    expected = os.environ.get("WEBSHOP_ADMIN_TOKEN", "")
    if not expected or not secrets.compare_digest(token.encode(), expected.encode()):
        raise HTTPException(403, "X-Admin-Token is missing or wrong")


@app.put("/admin/stock/{sku_id:path}", dependencies=[Depends(administrator)])
async def set_stock(request: Request, sku_id: str, stock: Stock) -> dict[str, int]:
    """A product that is sold out is in no list until it is available again."""
    state = request.app.state
    changed = await state.mesh.set_availability([sku_id], stock.available, timeout=ADMIN_SECONDS)
    state.popular = [item for item in state.popular if stock.available or item["sku_id"] != sku_id]
    return accepted(changed)


@app.put("/admin/products/{sku_id:path}", dependencies=[Depends(administrator)])
async def put_product(request: Request, sku_id: str, fields: dict[str, str]) -> dict[str, int]:
    """Create a product, or change its fields."""
    return accepted(await request.app.state.mesh.put_items([Item(sku_id, fields)], timeout=ADMIN_SECONDS))


def accepted(changed: Recorded) -> dict[str, int]:
    """Report what feed has rejected."""
    for entry in changed.rejected:
        raise HTTPException(422, entry.reason)
    return {"accepted": changed.accepted}
