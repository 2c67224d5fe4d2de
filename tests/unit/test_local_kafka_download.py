"""Downloading the jars, from a repository on this machine."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from events.local_kafka import LocalKafkaError
from events.local_kafka.download import Jar
from events.local_kafka.files import silent
from events.local_kafka.jars import ensure_jars

ROOT = Path(__file__).parents[2]
CONTENT = {f"g:a{n}:1.0": bytes([n]) * (10_000 + n) for n in range(1, 4)}
JARS = tuple(
    Jar(coordinate, len(content), hashlib.sha256(content).hexdigest())
    for coordinate, content in CONTENT.items()
)
OVER_TLS = """
import sys
from pathlib import Path
from events.local_kafka.jars import ensure_jars
from tests.unit.test_local_kafka_download import JARS
ensure_jars(Path(sys.argv[1]), lambda *_: None, jars=JARS, repositories={"tls": sys.argv[2]})
"""


@dataclass
class Repository:
    """A Maven repository: what it holds, what it is asked, and what it does instead."""

    server: ThreadingHTTPServer
    asked: list[str] = field(default_factory=list)
    instead: dict[str, list[Callable[[bytes], tuple[int, bytes]]]] = field(default_factory=dict)

    @property
    def address(self) -> dict[str, str]:
        return {"here": f"http://127.0.0.1:{self.server.server_address[1]}"}

    def answer(self, path: str) -> tuple[int, bytes]:
        _, group, name, version, file_name = path.split("/")
        content = CONTENT.get(f"{group}:{name}:{version}", b"")
        if not file_name.endswith(".jar"):
            return 404, b""
        self.asked.append(name)
        deeds = self.instead.get(name)
        return deeds.pop(0)(content) if deeds else (200, content)


@contextmanager
def serving() -> Iterator[Repository]:
    """A repository on this machine; its server runs on a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = found.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Repository(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def repository() -> Iterator[Repository]:
    with serving() as found:
        yield found


def fetch(cache: Path, repository: Repository) -> Path:
    return ensure_jars(cache, silent, jars=JARS, repositories=repository.address)


def test_jars_are_downloaded_once(tmp_path: Path, repository: Repository) -> None:
    seen: list[float] = []
    folder = ensure_jars(
        tmp_path,
        lambda _, fraction: seen.append(fraction),
        jars=JARS,
        repositories=repository.address,
    )
    assert fetch(tmp_path, repository) == folder
    assert sorted(repository.asked) == ["a1", "a2", "a3"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        jar.file_name: CONTENT[jar.coordinate] for jar in JARS
    }
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_two_that_start_at_once_download_once(tmp_path: Path, repository: Repository) -> None:
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: fetch(tmp_path, repository), range(2)))
    assert folders[0] == folders[1]
    assert sorted(repository.asked) == ["a1", "a2", "a3"]


def test_a_hiccup_of_the_repository_is_tried_again(tmp_path: Path, repository: Repository) -> None:
    repository.instead["a1"] = [lambda _: (503, b"")]
    repository.instead["a2"] = [lambda content: (200, content[:100]), lambda _: (200, b"<html>")]
    folder = fetch(tmp_path, repository)
    assert (folder / "a2-1.0.jar").read_bytes() == CONTENT["g:a2:1.0"]
    assert sorted(repository.asked) == ["a1", "a1", "a2", "a2", "a2", "a3"]


def test_a_jar_with_other_bytes_is_refused_and_the_good_ones_are_kept(
    tmp_path: Path, repository: Repository
) -> None:
    def forged(content: bytes) -> tuple[int, bytes]:
        return 200, b"x" * len(content)

    repository.instead["a1"] = [forged] * 3
    with pytest.raises(LocalKafkaError, match=r"g:a1:1\.0 is not what the lock names"):
        fetch(tmp_path, repository)
    assert not list(tmp_path.glob("kafka-*/*.jar"))

    repository.asked.clear()
    assert len(list(fetch(tmp_path, repository).iterdir())) == 3
    assert repository.asked == ["a1"]


def test_a_jar_that_went_missing_is_downloaded_again(
    tmp_path: Path, repository: Repository
) -> None:
    (fetch(tmp_path, repository) / "a1-1.0.jar").unlink()
    assert (fetch(tmp_path, repository) / "a1-1.0.jar").exists()


def test_without_a_network_one_line_says_what_to_do(tmp_path: Path) -> None:
    with serving() as gone:
        pass
    with pytest.raises(LocalKafkaError, match=r"could not be downloaded: .*refused") as caught:
        fetch(tmp_path, gone)
    assert "needs the network" in caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl for a certificate")
def test_a_certificate_that_only_the_machine_trusts_is_accepted(
    tmp_path: Path, repository: Repository
) -> None:
    key, certificate, cache = tmp_path / "key", tmp_path / "certificate", tmp_path / "cache"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = repository.server
    server.socket = context.wrap_socket(server.socket, server_side=True)
    cache.mkdir()
    address = f"https://127.0.0.1:{server.server_address[1]}"

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", OVER_TLS, str(cache), address],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    stranger = run()
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.stderr
    known = run(SSL_CERT_FILE=str(certificate))
    assert known.returncode == 0, known.stderr
    assert len(list(cache.glob("kafka-*/*.jar"))) == 3
