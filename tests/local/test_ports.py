"""Free ports for servers that tests and the local mesh start."""

from local.ports import free_ports, hold

OFFSET = 10_000
RANGE = range(20_000, 22_768)


def test_a_port_is_free_only_if_the_one_at_the_offset_is_as_well() -> None:
    """Both lie below the ports of outgoing connections, which start at 32,768."""
    (port,) = free_ports(1, offset=OFFSET)
    holder = hold(port + OFFSET)
    try:
        found = free_ports(len(RANGE), offset=OFFSET)
    finally:
        holder.close()
    assert port in RANGE
    assert port not in found
    assert len(found) > len(RANGE) // 2
    assert set(found) <= set(RANGE)


def test_excluded_ports_are_not_found() -> None:
    excluded = free_ports(3)
    assert not set(free_ports(10_000, exclude=excluded)) & set(excluded)
