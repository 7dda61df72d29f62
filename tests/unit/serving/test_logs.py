"""Log lines: short, without local variables, and few of a lasting fault."""

import json
import logging

import pytest
import structlog

from recmesh.errors import Unavailable
from recmesh.serving import logs
from tests.unit.clock import Clock

pytestmark = pytest.mark.usefixtures("own_configuration")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_no_local_variable_gets_into_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "um")
    profile = "age 34, income high"
    try:
        int(profile.replace("age", "no number: x" * 100))
    except ValueError as error:
        structlog.get_logger().error("request failed", exc_info=error)
    text = capsys.readouterr().out
    assert "locals" not in text
    (line,) = [json.loads(text)]
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert len(text) < 2_000


def test_long_values_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "um")
    structlog.get_logger().info("refused", reason="x" * 4_000_000)
    (line,) = lines(capsys)
    assert line["reason"] == "x" * 500 + "... (4,000,000 characters)"


def test_a_line_has_the_log_id_of_its_request(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "um")
    token = logs.log_id.set(77)
    structlog.get_logger().info("one")
    logs.log_id.reset(token)
    structlog.get_logger().info("two")
    one, two = lines(capsys)
    assert (one["log_id"], "log_id" in two) == (77, False)


def test_the_class_of_a_foreign_error_is_named() -> None:
    assert logs.reason(Unavailable("Redis does not answer")) == "Redis does not answer"
    assert logs.reason(KeyError("a")) == "KeyError: 'a'"


def test_a_line_names_its_service_its_level_and_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "um")
    structlog.get_logger().debug("hidden")
    structlog.get_logger().info("one")
    structlog.get_logger().warning("two", service="cm")
    one, two = lines(capsys)
    assert (one["event"], one["service"], one["level"]) == ("one", "um", "info")
    assert (two["service"], two["level"]) == ("cm", "warning")
    assert str(one["timestamp"]).endswith("Z")


@pytest.mark.parametrize(("level", "shown"), [("debug", ["warned", "failed"]), ("error", ["failed"])])
def test_libraries_log_warnings_and_errors_only(
    level: str, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(level, "um")
    library = logging.getLogger("a library")
    library.info("told")
    library.warning("warned")
    library.error("failed")
    found = lines(capsys)
    assert [line["event"] for line in found] == shown
    assert {line["service"] for line in found} == {"um"}


def test_no_more_than_ten_frames_of_an_error_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        raise ValueError("x" * 1_000)

    logs.configure("info", "um")
    try:
        deep(50)
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
    part = json.loads(capsys.readouterr().out)["exception"][0]
    assert len(part["frames"]) <= 11
    assert part["exc_value"] == "x" * 500 + "... (1,000 characters)"


def test_texts_of_500_characters_are_whole() -> None:
    assert logs.shortened("x" * 500) == "x" * 500
    assert logs.shortened("x" * 501) == "x" * 500 + "... (501 characters)"
    assert logs.shortened("abc", 2) == "ab... (3 characters)"


def test_repeated_lines_of_a_library_come_with_growing_pauses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At seconds 0, 1 and 3, whatever other calls of the library log."""
    clock = Clock(monkeypatch, "recmesh.throttle")
    logs.configure("info", "um")
    library = logging.getLogger("a.library")
    for _ in range(10):
        library.warning("RPC error of attempt %d", clock.now)
        clock.now += 0.5
    library.error("another call")
    found = [(line["event"], line.get("attempts", 1)) for line in lines(capsys)]
    assert found == [
        ("RPC error of attempt 1000", 1),
        ("RPC error of attempt 1001", 2),
        ("RPC error of attempt 1003", 4),
        ("another call", 1),
    ]


def test_lines_of_recmesh_itself_are_not_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "um")
    for _ in range(3):
        logging.getLogger("recmesh.tls").warning("own")
    assert [line["event"] for line in lines(capsys)] == ["own"] * 3
