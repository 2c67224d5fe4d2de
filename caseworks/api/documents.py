"""The OpenAPI document: schemas of the views, the security schemes, and a page that shows it.

The page's script comes from the wheel of `fastapi-offline`: it asks no other host for anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, get_origin

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from caseworks.api.problems import KINDS, MEDIA_TYPE

REF = "#/components/schemas/{name}"
ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
START = """window.onload = () => SwaggerUIBundle({
  url: "openapi.json", dom_id: "#page", deepLinking: true, persistAuthorization: false,
});
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Caseworks API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head><body><div id="page"></div>
<noscript>The document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script>
</body></html>
"""
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string", "enum": [f"urn:caseworks:problem:{name}" for name in KINDS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string", "description": "A stable word for it, where there is one."},
    },
    "required": ["type", "title", "status", "detail"],
    "example": {
        "type": "urn:caseworks:problem:not-found",
        "title": "There is no such thing",
        "status": 404,
        "detail": "no case 42 is known",
    },
}
_VIEWS: dict[str, Any] = {}
"""The types of answers by the name of their schema; filled as routes are declared."""


def documented(
    kind: Any, status: int = 200, text: str = "As asked.", more: Mapping[int, Any] | None = None
) -> dict[str, Any]:
    """What a route says of its answer, for FastAPI's decorators; *kind* is its type."""
    schema: dict[str, Any]
    if isinstance(kind, dict):
        schema = kind
    else:
        _VIEWS[_name(kind)] = kind
        schema = {"$ref": REF.format(name=_name(kind))}
    responses = {status: {"description": text, "content": {"application/json": {"schema": schema}}}}
    return {"responses": {**responses, **(more or {})}}


def _name(kind: Any) -> str:
    parts = [getattr(get_origin(kind) or kind, "__name__", str(kind))]
    parts += [part.__name__ for part in getattr(kind, "__args__", ())]
    return "Of".join(parts)


def openapi_of(app: FastAPI, security: Mapping[str, Any]) -> dict[str, Any]:
    """The document of an app."""
    document = get_openapi(
        title="Caseworks",
        version=app.version,
        summary="Business events in, exactly one result each out.",
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = PROBLEM
    for name, kind in _VIEWS.items():
        schemas.update(_schemas(name, kind))
    components["securitySchemes"] = dict(security)
    for path in document["paths"].values():
        for operation in path.values():
            operation["security"] = [{name: []} for name in security]
            answers = operation["responses"]
            answers.pop("422", None)
            answers["default"] = {
                "description": "What went wrong.",
                "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}},
            }
    return document


def _schemas(name: str, kind: Any) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        found = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        return {**found.pop("$defs", {}), name: found}
    (top,), parts = msgspec.json.schema_components([kind], ref_template=REF)
    own = top.get("$ref", "").rpartition("/")[2]
    if own in parts and own != name:
        parts[name] = parts.pop(own)
    elif own not in parts:
        parts[name] = top
    return dict(parts)


def serve_page(app: FastAPI) -> None:
    """Add `/docs`, `/openapi.json` and what the page needs."""
    assets = files("fastapi_offline").joinpath("static")
    headers = {"Content-Security-Policy": POLICY}

    async def page(_request: Request) -> Response:
        return HTMLResponse(PAGE, headers=headers)

    async def document(_request: Request) -> Response:
        return Response(json.dumps(app.openapi()), media_type="application/json")

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name == "start.js":
            return Response(START, media_type="text/javascript")
        if name not in ASSETS:
            return Response(status_code=404)
        body = assets.joinpath(name).read_bytes()
        kept = {"Cache-Control": "public, max-age=86400"}
        return Response(body, headers=kept, media_type=ASSETS[name])

    app.add_route("/docs", page, include_in_schema=False)
    app.add_route("/openapi.json", document, include_in_schema=False)
    app.add_route("/docs/{name}", asset, include_in_schema=False)
