"""SGLang's own generation endpoint, /generate, streaming and not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from launchers.fake_engine.exchange import BadRequest, body_of, count, send_events
from launchers.fake_engine.generation import Ask, Generation, Generator
from launchers.fake_engine.logprobs import logprobs_info

__all__ = ["Native"]

_DEFAULT_TOKENS = 128  # SamplingParams.max_new_tokens of SGLang
_TOKEN_ID = 264
_STOP_ID = 2


class Native:
    """The handler of /generate.

    A stream repeats the whole text so far in every event, as SGLang does; with
    --incremental-streaming-output each event has only what is new.
    """

    def __init__(self, generator: Generator, *, incremental: bool) -> None:
        self._generator = generator
        self._incremental = incremental

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """POST /generate."""
        arrived = asyncio.get_running_loop().time()
        body = await body_of(request)
        asks, batch = _asks(body, arrived)
        made = []
        for ask in asks:
            effect = self._generator.faults.meet(probe=ask.probe)
            if effect.fails:
                return web.json_response(
                    {"error": {"message": "told to fail", "code": 500}}, status=500
                )
            made.append(self._generator.begin(ask, effect))
        if body.get("stream") is True:
            if batch:
                raise BadRequest("the fake engine streams one prompt a request")
            return await send_events(request, self._events(made[0]))
        await asyncio.gather(*(self._generator.finish(one) for one in made))
        answers = [_document(one) for one in made]
        if body.get("return_logprob") is True:
            top = count_of(body, "top_logprobs_num", 0)
            for one, answer in zip(made, answers, strict=True):
                answer["meta_info"] |= logprobs_info(
                    self._generator.settings, one.ask.prompt, len(one.pieces), top
                )
        return web.json_response(answers if batch else answers[0])

    async def _events(self, one: Generation) -> Any:  # noqa: ANN401 - an async generator of bytes
        text, ids = "", ""
        async for done in self._generator.steps(one):
            piece = json.dumps(one.pieces[done - 1])[1:-1]
            if self._incremental:
                text, ids = piece, str(_TOKEN_ID)
            else:
                text += piece
                ids = f"{ids},{_TOKEN_ID}" if ids else str(_TOKEN_ID)
            info = json.dumps(_meta(one, done))
            yield f'data: {{"text":"{text}","output_ids":[{ids}],"meta_info":{info}}}\n\n'.encode()
        if not one.pieces:
            yield f"data: {json.dumps(_document(one))}\n\n".encode()
        yield b"data: [DONE]\n\n"


def _document(one: Generation) -> dict[str, Any]:
    tokens = len(one.pieces)
    return {
        "text": one.text,
        "output_ids": [_TOKEN_ID] * tokens,
        "meta_info": {**_meta(one, tokens), "e2e_latency": _age_s(one)},
    }


def _age_s(one: Generation) -> float:
    return asyncio.get_running_loop().time() - one.ask.arrived


def _meta(one: Generation, done: int) -> dict[str, Any]:
    """`meta_info` as tokenizer_manager.py of 0.5.23 fills it."""
    reason: dict[str, Any] | None = None
    if done == len(one.pieces):
        length = one.finish == "length"
        reason = {"type": "length", "length": done} if length else {"type": "stop"}
        if not length:
            reason["matched"] = _STOP_ID
    return {
        "id": one.id,
        "finish_reason": reason,
        "prompt_tokens": one.ask.prompt_tokens,
        "weight_version": "default",
        "num_retractions": 0,
        "reasoning_tokens": 0,
        "completion_tokens": done,
        "cached_tokens": 0,
    }


def count_of(body: dict[str, Any], name: str, default: int) -> int:
    """A count in a request's body."""
    value = body.get(name, default)
    if type(value) is not int or value < 0:
        raise BadRequest(f"{name} must be a count, not {value!r}")
    return value


def _asks(body: dict[str, Any], arrived: float) -> tuple[list[Ask], bool]:
    text, ids = body.get("text"), body.get("input_ids")
    given = ids if text is None else text
    if not isinstance(given, str | list) or not given:
        raise BadRequest("text or input_ids is needed, a prompt or a list of prompts")
    batch = isinstance(given, list) and isinstance(given[0], str | list)
    sampling = body.get("sampling_params")
    if not isinstance(sampling, dict | None):
        raise BadRequest("sampling_params must be an object")
    told = sampling if sampling is not None else {}
    limit = told.get("max_new_tokens", _DEFAULT_TOKENS)
    if type(limit) is not int or limit < 0:
        raise BadRequest(f"max_new_tokens must be a number of tokens, not {limit!r}")
    return [
        Ask(
            prompt=prompt if isinstance(prompt, str) else "",
            prompt_tokens=count(prompt),
            max_tokens=limit,
            ignore_eos=told.get("ignore_eos") is True,
            arrived=arrived,
        )
        for prompt in (given if batch else [given])
    ], batch
