"""Log lines: short, without local variables, and not more than one a second of a kind."""

import json
import logging

import pytest
import structlog

from recmesh.errors import Unavailable
from recmesh.serving import logs

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


def test_a_limit_lets_one_line_a_second_through_for_each_key() -> None:
    now = 0.0
    limit = logs.Limit(clock=lambda: now)
    counts = {}
    for tenth in range(25):
        now = tenth / 10
        counts[now] = limit.due("a")
    assert {at: count for at, count in counts.items() if count} == {0.0: 1, 1.0: 10, 2.0: 10}
    assert limit.due("b") == 1


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
