"""What is taken out of texts as a machine's name, and what is found as one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from scripts.gpu_smoke.clean import Cleaner, leaks
from scripts.gpu_smoke.kept_text import texts

CARD = "GPU-1b2c3d4e-0000-4fff-8aaa-0123456789ab"


def test_cards_are_numbered_as_they_come_and_stay_the_same() -> None:
    cleaner = Cleaner(hosts=["node17", "localhost"])
    other = CARD.replace("1b2c", "9b2c")
    found = cleaner.text(
        f"{other} {CARD} GPU-{other[4:].upper()} on node17, not on node171 or localhost"
    )
    numbers = [f"GPU-00000000-0000-0000-0000-{n:012d}" for n in (0, 1, 0)]
    assert found == f"{' '.join(numbers)} on host, not on node171 or localhost"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Linux-6.8.0-7-example-x86_64-with-glibc2.39", "Linux-6.8.0-x86_64-with-glibc2.39"),
        ("Linux-6.8.0-a-b7-c.d_e-aarch64-with-glibc2.39", "Linux-6.8.0-aarch64-with-glibc2.39"),
        ("one\n6.8.0-7-example\n16", "one\n6.8.0\n16"),
        ("one\n6.8.0-generic\n16", "one\n6.8.0\n16"),
        ("Linux-5.15.0-x86_64-with-glibc2.35", "Linux-5.15.0-x86_64-with-glibc2.35"),
        ("0.5.16-dev of a package", "0.5.16-dev of a package"),
        ('"/opt/example/.venv/bin/python3"', '"/python/bin/python3"'),
        ("/srv/a-copy/venv/bin/python3", "/python/bin/python3"),
        ("/srv/a-copy/pipeline/x.py", "/servegate/pipeline/x.py"),
        ("/gpu/site:/srv/a-copy", "/gpu/site:/servegate"),
        ("/srv/a-copy-2/x and /srv/other", "/srv/a-copy-2/x and /srv/other"),
    ],
)
def test_paths_and_kernels_lose_what_is_the_hosts(text: str, clean: str) -> None:
    assert Cleaner(roots=["/srv/a-copy"]).text(text) == clean


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("/srv/x", "a path of the host"),
        ("at /root/.cache/", "a path of the host"),
        (CARD, "the id of a card"),
        ("MIG-1B2C3D4E-0000-4FFF-8AAA-0123456789AB", "the id of a card"),
        ("1b2c3d4e-0000-4fff-8aaa-0123456789ab", "a UUID"),
        ("1B2C3D4E-0000-4FFF-8AAA-0123456789AB", "a UUID"),
        ("tcp://10.0.12.7:5000", "an address"),
        ("192.168.1.20", "an address"),
        ("it was 203.0.113.9.", "an address"),
        ("0.0.0.01", "an address"),
        ("fa:16:3e:00:aa:01", "a hardware address"),
        ("FA:16:3E:00:AA:01", "a hardware address"),
        ("00000000:1B:00.0", "a PCI address"),
        ("gpu-a3.internal", "a name of a network"),
        ("who@example.com", "somebody's address"),
        ('"HOSTNAME": "gpu-a3"', "a variable that names somebody"),
        ("hf_abcdefghijklmnopqrst", "a secret"),
        ('"release": "6.8.0-7-example"', "a kernel of the host"),
        ("6.8.0-generic", "a kernel of the host"),
        ("on Linux-6.8.0-generic-x86_64", "a kernel of the host"),
    ],
)
def test_what_would_name_a_machine_is_found(text: str, what: str) -> None:
    assert [(leak.line, leak.what) for leak in leaks(f"fine\n{text}\n")] == [(2, what)]


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:30000 and 0.0.0.0.", "127.0.1.1", "1.2.3.4.5",
        "580.159.04, CUDA 13.0", "/gpu/models/x",
        "GPU-00000000-0000-0000-0000-000000000001", "/usr/local/cuda/bin/nvcc", "nccl 2.28.3-1",
        "Linux-6.8.0-x86_64-with-glibc2.39", "0.5.16-dev of a package",
        "at::native::elementwise_kernel<128, 4>(int)", "TORCH_HOME_X", "10.5 ms, 10.5.1",
    ],
)  # fmt: skip
def test_what_names_nobody_is_left(text: str) -> None:
    assert list(leaks(text)) == []


def test_strings_in_sqlite_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE StringIds (id INTEGER, value TEXT)")
        base.execute("INSERT INTO StringIds VALUES (1, '/srv/x/kernel.cu')")
        base.commit()
    assert [leak.what for text in texts(path) for leak in leaks(text)] == ["a path of the host"]
