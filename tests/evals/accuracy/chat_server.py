"""A tiny OpenAI-style chat server whose every reply a test decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What one request gets; status 0 closes the connection without a word."""

    text: str = ""
    finish_reason: str | None = "stop"
    status: int = 200


@dataclass
class ChatServer:
    """Where it listens, and what it was asked."""

    base_url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    stop: Callable[[], None] = lambda: None


@contextmanager
def chat_server(reply: Callable[[int, dict[str, Any]], Reply]) -> Iterator[ChatServer]:
    """Serve on a free port; `reply` gets the request's number from 0 and its body."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(state.requests)
                state.requests.append(body)
            made = reply(number, body)
            if made.status == 0:
                self.close_connection = True
                return
            content = json.dumps(_completion(made, chat="messages" in body)).encode()
            self.send_response(made.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    state = ChatServer(base_url=f"http://127.0.0.1:{server.server_port}", stop=stop)
    try:
        yield state
    finally:
        stop()
        thread.join()


def _completion(reply: Reply, *, chat: bool) -> dict[str, Any]:
    if reply.status != 200:
        return {"error": {"message": "told to fail", "type": "server_error"}}
    return {
        "id": "1",
        "object": "chat.completion" if chat else "text_completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": reply.finish_reason,
                **(
                    {"message": {"role": "assistant", "content": reply.text}}
                    if chat
                    else {"text": reply.text}
                ),
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
