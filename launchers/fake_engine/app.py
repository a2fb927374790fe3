"""The fake engine's web application: routes, readiness, and the faults that concern them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from launchers.fake_engine.answers import AnswerBook
from launchers.fake_engine.control import Control
from launchers.fake_engine.exchange import BadRequest
from launchers.fake_engine.generation import Generator
from launchers.fake_engine.native import Native
from launchers.fake_engine.openai_api import OpenAI, error_body
from launchers.fake_engine.settings import FakeSettings
from launchers.fake_engine.witness import Witnesses

__all__ = ["build"]

_BODY_BYTES = 256 * 1024 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build(
    args: Mapping[str, Any], settings: FakeSettings, book: AnswerBook, witnesses: Witnesses
) -> web.Application:
    """The application of a server with these resolved arguments."""
    generator = Generator(settings, book, witnesses)
    control = Control(args, settings, generator)
    app = web.Application(
        client_max_size=_BODY_BYTES, middlewares=[_middleware(generator, control)]
    )
    native = Native(generator, incremental=args["incremental_streaming_output"] is True)
    openai = OpenAI(generator, str(args["served_model_name"]))
    for path in ("/health", "/health_generate", "/ready"):
        app.router.add_get(path, control.health)
    for path in ("/model_info", "/get_model_info"):
        app.router.add_get(path, control.model_info)
    for path in ("/server_info", "/get_server_info"):
        app.router.add_get(path, control.server_info)
    app.router.add_get("/v1/models", control.models)
    for path, handler in (
        ("/flush_cache", control.flush_cache),
        ("/start_profile", control.start_profile),
        ("/stop_profile", control.stop_profile),
    ):
        app.router.add_get(path, handler)
        app.router.add_post(path, handler)
    app.router.add_post("/generate", native.generate)
    app.router.add_post("/v1/chat/completions", openai.chat)
    app.router.add_post("/v1/completions", openai.complete)
    app.cleanup_ctx.append(_readiness(generator, control, settings))
    return app


def _middleware(generator: Generator, control: Control) -> Any:  # noqa: ANN401 - aiohttp's own type
    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        await generator.faults.stall()
        if request.method == "POST" and not control.ready:
            return web.json_response(error_body("starting", 503), status=503)
        try:
            response = await handler(request)
        except BadRequest as error:
            return web.json_response(error_body(str(error), 400), status=400)
        await generator.faults.stall()
        return response

    return around


def _readiness(
    generator: Generator, control: Control, settings: FakeSettings
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def become_ready() -> None:
        await asyncio.sleep(settings.ready_after_s)
        control.ready = True
        generator.faults.arm()
        print("The server is fired up and ready to roll!", flush=True)

    async def context(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(become_ready())
        yield
        task.cancel()

    return context
