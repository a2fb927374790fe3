"""The endpoints that say what the server is, and those that do nothing here but answer."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from launchers.fake_engine.exchange import body_of
from launchers.fake_engine.generation import Generator
from launchers.fake_engine.profile import write_traces
from launchers.fake_engine.settings import FakeSettings
from launchers.fake_engine.witness import SPOKEN_VERSION

__all__ = ["Control"]

_CONTEXT = 262_144  # tokens


class Control:
    """Health, information, cache and profiler endpoints of one server."""

    def __init__(
        self, args: Mapping[str, Any], settings: FakeSettings, generator: Generator
    ) -> None:
        self.ready = False
        self._args = dict(args)
        self._settings = settings
        self._generator = generator
        self._began = time.time()

    async def health(self, _: web.Request) -> web.Response:
        """GET /health, /health_generate, /ready: 200 once ready, 503 before."""
        return web.Response(status=200 if self.ready else 503)

    async def model_info(self, _: web.Request) -> web.Response:
        """GET /model_info."""
        names = ("model_path", "served_model_name", "tokenizer_path")
        return web.json_response(
            {
                **{name: self._args[name] for name in names},
                "is_generation": True,
                "preferred_sampling_params": None,
                "weight_version": "default",
                "has_image_understanding": False,
                "has_audio_understanding": False,
                "model_type": "fake",
                "architectures": ["FakeForCausalLM"],
            }
        )

    async def server_info(self, _: web.Request) -> web.Response:
        """GET /server_info: the resolved arguments, and a state for each attention-DP rank."""
        args = self._args
        state = {
            **args,
            "world_size": args["tp_size"] * args["pp_size"] * args["dp_size"],
            "effective_max_running_requests_per_dp": args.get("max_running_requests"),
            "last_gen_throughput": 0.0,
            "memory_usage": {"weight": 0.0, "kvcache": 0.0, "token_capacity": _CONTEXT},
        }
        return web.json_response(
            {
                **args,
                "launch_command": [sys.executable, *sys.argv],
                "status": "ready" if self.ready else "starting",
                "max_total_num_tokens": _CONTEXT,
                "max_req_input_len": _CONTEXT,
                "startup_time": {"began": self._began},
                "internal_states": [state] * (args["attn_dp_size"] * args["dp_size"]),
                "version": f"fake-{SPOKEN_VERSION}",
                "fake": {
                    **self._settings.model_dump(mode="json"),
                    "launch_factor": self._generator.pace.launch_factor,
                },
            }
        )

    async def models(self, _: web.Request) -> web.Response:
        """GET /v1/models."""
        name = self._args["served_model_name"]
        card = {
            "id": name,
            "object": "model",
            "created": int(self._began),
            "owned_by": "sglang",
            "root": name,
            "parent": None,
            "max_model_len": _CONTEXT,
        }
        return web.json_response({"object": "list", "data": [card]})

    async def flush_cache(self, _: web.Request) -> web.Response:
        """POST /flush_cache: there is none."""
        return web.Response(text="Cache flushed.\n")

    async def start_profile(self, request: web.Request) -> web.Response:
        """POST /start_profile: the traces of all ranks at once, where a folder is given."""
        body = await body_of(request) if request.can_read_body else {}
        folder, steps = body.get("output_dir"), body.get("num_steps")
        if isinstance(folder, str) and isinstance(steps, int):
            write_traces(self._args, os.environ, self._settings, Path(folder), steps)
        return web.Response(text="Start profiling.\n")

    async def stop_profile(self, _: web.Request) -> web.Response:
        """POST /stop_profile."""
        return web.Response(text="Stop profiling. This will take some time.\n")
