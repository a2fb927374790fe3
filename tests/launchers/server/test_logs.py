from pathlib import Path

from launchers.server.logs import NewLines, log_tail


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n\n" for n in range(100)))
    assert log_tail(log, 2) == ["line 98", "line 99"]
    assert len(log_tail(log)) == 40


def test_a_missing_and_an_empty_log_have_no_tail(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert log_tail(tmp_path / "empty") == log_tail(tmp_path / "missing") == []


def test_a_binary_log_with_progress_bars_is_made_printable(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"10%\r20%\r\x1b[1mbold\x00\xff\n")
    assert log_tail(log) == ["10%", "20%", "\ufffd[1mbold\ufffd\ufffd"]


def test_of_a_huge_log_only_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        out.seek(1 << 40)  # a sparse terabyte
        out.write(b"\nthe end\n")
    assert log_tail(log, 1) == ["the end"]


def test_new_lines_come_once_and_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = NewLines(log)
    assert lines.read() == []
    with log.open("w") as out:
        out.write("one\ntw")
        out.flush()
        assert lines.read() == ["one"]
        assert lines.read() == []
        out.write("o\n\nthree\n")
        out.flush()
        assert lines.read() == ["two", "", "three"]
