"""Who takes alerts in these tests? A receiver on this machine that answers as it is told, and keeps what came."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gatekeeper.domain.alert_deliveries import Notice
from gatekeeper.domain.alerts import Alert, AlertKind

SECRET = b"not what the receiver has, but twenty-four bytes"


class Answer(Enum):
    """What else than a status a receiver can answer."""

    # Nothing, for as long as the sender waits.
    HANGS = "HANGS"
    # It takes what came, and closes the connection without a word.
    LOSES = "LOSES"
    # 200, and a body without an end.
    GOES_ON = "GOES_ON"
    # Somewhere else.
    REDIRECTS = "REDIRECTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver(ThreadingHTTPServer):
    """Answers posts one after another as `answers` say; the last one for all that follow."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answers: Sequence[int | Answer]) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.place = f"127.0.0.1:{self.server_port}"
        self.posts: list[Post] = []
        self.over = threading.Event()
        self._answers = [*answers]
        self._lock = threading.Lock()

    def take(self, post: Post) -> int | Answer:
        """Keep what came; return what to answer."""
        with self._lock:
            self.posts.append(post)
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def answer(self, *answers: int | Answer) -> None:
        """Answer otherwise from now on."""
        with self._lock:
            self._answers = [*answers]

    def ids(self) -> list[str]:
        """Return which alerts came, in order, by their webhook-ids."""
        return [post.headers["webhook-id"].rpartition("_")[2] for post in self.posts]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.take(Post(path=self.path, headers=headers, body=body))
        if answer is Answer.HANGS:
            self.server.over.wait(60)
        elif answer is Answer.GOES_ON:
            self._go_on()
        elif answer is not Answer.LOSES:
            self._answer(answer)
        self.close_connection = True

    def _go_on(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.over.is_set():
                self.wfile.write(b"and on " * 1000)
        except ConnectionError:
            return

    def _answer(self, answer: int | Answer) -> None:
        self.send_response(302 if answer is Answer.REDIRECTS else int(str(answer)))
        if answer is Answer.REDIRECTS:
            self.send_header("location", f"http://{self.server.place}/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def receiving(*answers: int | Answer) -> Iterator[Receiver]:
    """Run a receiver; it answers 204 unless told otherwise."""
    with Receiver(answers or (204,)) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=[0.02])
        thread.start()
        try:
            yield receiver
        finally:
            receiver.over.set()
            receiver.shutdown()
            thread.join()


def secret_file(folder: Path, *lines: str) -> Path:
    """Write a file that only its owner may use."""
    path = folder / "secret"
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return path


def notice(**fields: object) -> Notice:
    """Return an alert to tell, about no budget unless told."""
    alert = {"kind": AlertKind.TEST, "message": "It is only a test.", "occurred_at": datetime(2026, 11, 20, tzinfo=UTC)}
    return Notice(alert_id=17, organization="acme", currency="USD", alert=Alert(**(alert | fields)))  # type: ignore[arg-type]
