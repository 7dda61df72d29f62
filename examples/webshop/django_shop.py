"""A web shop with recommendations, in Django. docs/webshop.md explains it.

pip install recmesh django
WEBSHOP_ADMIN_TOKEN=... python django_shop.py runserver 8000     # or gunicorn django_shop:application

In a project of your own, `mesh` and the views go into an app, and the settings into settings.py.
"""

import atexit
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from recmesh.client import Action, AnswerFailed, History, InvalidRequest, Item, RecmeshError, Recorded, sync

LIST_SIZE = 10
LIST_SECONDS = float(os.environ.get("WEBSHOP_LIST_SECONDS", "0.3"))
"""How long a page waits for its list."""
RECORD_SECONDS, ADMIN_SECONDS = 1.0, 5.0
"""How long a visitor waits until an action is recorded, and an administrator for a change."""
SESSION_ACTIONS = 15
"""Actions of a guest that the session keeps: it is a cookie, of at most 4 KiB."""

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    # Your project has more: security, CSRF, authentication.
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("WEBSHOP_SECRET") or secrets.token_urlsafe(),  # several processes need the same one
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)

log = logging.getLogger("webshop")
# One client for the process, which all threads share. It opens its channels at the first call, so it survives a fork.
mesh = sync.Mesh()  # addresses: RECMESH_AS_TARGET and so on
atexit.register(mesh.close)
popular: list[dict[str, Any]] = []
"""The last list of a new visitor: what the pages show while recmesh does not answer."""

View = Callable[..., JsonResponse]


def guarded(view: View) -> View:
    """Answer bad input, and failures of the pages that cannot do without recmesh."""

    @wraps(view)
    def answered(request: HttpRequest, **parameters: str) -> JsonResponse:
        try:
            return view(request, **parameters)
        except (InvalidRequest, ValueError) as error:
            return JsonResponse({"detail": str(error)}, status=422)
        except RecmeshError as error:
            log.warning("%s: %s", request.path, error)
            return JsonResponse({"detail": str(error)}, status=503)

    return answered


# Pages.


@require_GET
@guarded
def home(request: HttpRequest) -> JsonResponse:
    """The home page of a user, or of a guest with the actions of the session."""
    return JsonResponse(recommended(request))


@require_GET
@guarded
def product(request: HttpRequest, sku_id: str) -> JsonResponse:
    """The page of a product. A real shop reads the product from its own database."""
    try:
        (item,) = mesh.cm([sku_id], timeout=LIST_SECONDS).found
    except AnswerFailed:
        return JsonResponse({"detail": f"there is no product {sku_id}"}, status=404)
    return JsonResponse({"product": shown(item), **recommended(request, exclude=[sku_id])})


def recommended(request: HttpRequest, exclude: Sequence[str] = ()) -> dict[str, Any]:
    """A list for the visitor. If recmesh does not answer in time, the last list of a new visitor."""
    user_id, history = request.session.get("user_id", ""), guest_history(request)
    try:
        answer = mesh.recommend(user_id, size=LIST_SIZE, exclude=exclude, history=history, timeout=LIST_SECONDS)
    except RecmeshError as error:
        log.warning("no recommendations: %s", error)
        return {"items": [item for item in popular if item["sku_id"] not in exclude], "fallback": True}
    items = [shown(item) for item in answer.items]
    if not user_id and not history.sku_ids and not exclude:
        popular[:] = items
    return {"items": items, "fallback": False}


def guest_history(request: HttpRequest) -> History:
    """What a guest did in this session, newest first. Nothing for users: recmesh has their history."""
    actions = request.session.get("actions", ())
    columns = zip(*((sku_id, time_ms, kind, 1.0) for _, sku_id, kind, time_ms in actions), strict=True)
    return History(*columns)


def shown(item: Item) -> dict[str, Any]:
    """What a page shows of an item."""
    return {"sku_id": item.sku_id, **item.fields}


# What visitors do.


@require_POST
@guarded
def act(request: HttpRequest) -> JsonResponse:
    """A visitor views a product, puts it into the cart or orders it. Scripts of the pages send the views.

    The page makes the event id, so that a repeated request counts once.
    """
    event = sent(request, sku_id=64, type=8, event_id=40)
    if event["type"] not in ("view", "cart", "order"):
        raise ValueError("type: expected view, cart or order")
    action = (event["event_id"], event["sku_id"], event["type"], int(time.time() * 1000))
    if "user_id" in request.session:
        return JsonResponse({"recorded": record(request, [action])}, status=202)
    actions = request.session.get("actions", [])
    if event["event_id"] not in [event_id for event_id, *_ in actions]:
        request.session["actions"] = [action, *actions][:SESSION_ACTIONS]
    return JsonResponse({"recorded": False}, status=202)


@require_POST
@guarded
def login(request: HttpRequest) -> JsonResponse:
    """What a guest did becomes part of the user's history, oldest first. A real shop checks a password."""
    actions = request.session.pop("actions", [])
    request.session["user_id"] = sent(request, user_id=128)["user_id"]
    return JsonResponse({"recorded": record(request, actions[::-1])})


def record(request: HttpRequest, actions: Sequence[Sequence[Any]]) -> bool:
    """Record what the user did. The shop goes on if that fails: an order is an order."""
    user_id = request.session["user_id"]
    entries = [Action(user_id, sku_id, at, kind, event_id=event_id) for event_id, sku_id, kind, at in actions]
    try:
        recorded = mesh.record(entries, timeout=RECORD_SECONDS)
    except RecmeshError as error:
        log.error("not recorded, send it again (recmesh feed load): %s: %s", entries, error)
        return False
    for entry in recorded.rejected:
        log.error("not recorded: %s: %s", entries[entry.position], entry.reason)
    return not recorded.rejected


def sent(request: HttpRequest, **limits: int) -> dict[str, str]:
    """The texts in the body of a request, each with 1 to `limit` characters."""
    body = json.loads(request.body)
    for name, limit in limits.items():
        text = body.get(name) if isinstance(body, dict) else None
        if not isinstance(text, str) or not 1 <= len(text) <= limit:
            raise ValueError(f"{name}: expected 1 to {limit} characters")
    return dict(body)


# Administration.


def administration(view: View) -> View:
    """Refuse everybody but administrators. A real shop has logins."""

    @wraps(view)
    def allowed(request: HttpRequest, **parameters: str) -> JsonResponse:
        expected, token = os.environ.get("WEBSHOP_ADMIN_TOKEN", ""), request.headers.get("X-Admin-Token", "")
        if not expected or not secrets.compare_digest(token.encode(), expected.encode()):
            return JsonResponse({"detail": "X-Admin-Token is missing or wrong"}, status=403)
        return view(request, **parameters)

    return allowed


@require_http_methods(["PUT"])
@administration
@guarded
def set_stock(request: HttpRequest, sku_id: str) -> JsonResponse:
    """A product that is sold out is in no list until it is available again."""
    stock = json.loads(request.body)
    if stock not in ({"available": True}, {"available": False}):
        raise ValueError('expected {"available": true} or {"available": false}')
    changed = mesh.set_availability([sku_id], stock["available"], timeout=ADMIN_SECONDS)
    popular[:] = [item for item in popular if stock["available"] or item["sku_id"] != sku_id]
    return accepted(changed)


@require_http_methods(["PUT"])
@administration
@guarded
def put_product(request: HttpRequest, sku_id: str) -> JsonResponse:
    """Create a product, or change its fields."""
    fields = json.loads(request.body)
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise ValueError("expected fields, whose values are texts")
    return accepted(mesh.put_items([Item(sku_id, fields)], timeout=ADMIN_SECONDS))


def accepted(changed: Recorded) -> JsonResponse:
    """Report what feed has rejected."""
    for entry in changed.rejected:
        raise ValueError(entry.reason)
    return JsonResponse({"accepted": changed.accepted})


urlpatterns = [
    path("", home),
    path("products/<path:sku_id>", product),
    path("actions", act),
    path("login", login),
    path("admin/stock/<path:sku_id>", set_stock),
    path("admin/products/<path:sku_id>", put_product),
]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
