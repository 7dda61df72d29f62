"""Strangers, at every port, with everything on."""

from tests.doors import documented, measure, table


def test_strangers_get_what_the_page_says() -> None:
    assert table(measure()) == documented()
