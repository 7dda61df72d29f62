"""Files of rules: what they mean, and that every error names its line."""

import json
import random
import re
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmesh.conditions import Condition
from recmesh.errors import DataError
from recmesh.rules import MAX_RULES_BYTES, RuleSet

GOOD = """\
rules:
  - name: advent
    kind: pin
    items: ["4710421090059", 007]
    position: 3
    scenario: home
    from: 2026-12-01T00:00:00+01:00
    until: 2026-12-24T18:00:00+01:00
    users: city=176,177
  - name: own brand
    kind: boost
    factor: 2.5
    when: [brand=77, price>=3]
  - {name: slow, kind: bury, factor: 3, when: cate!=5}
  - {name: adults, kind: exclude, when: cate=560, scenario: [home, related]}
  - {name: mix, kind: at_most, count: 2, field: brand, first: 10}
  - {name: variety, kind: diversity, strength: 0.3}
  - {name: new, kind: freshness, share: 0.2, field: listed, days: 30, first: 20}
"""
ERROR = re.compile(r"rules\.yaml line (\d+), column (\d+): [^\n]+")


def refused(text: str | bytes) -> str:
    with pytest.raises(DataError) as error:
        RuleSet.parse(text.encode() if isinstance(text, str) else text)
    assert ERROR.fullmatch(str(error.value)), str(error.value)
    return str(error.value)


def test_a_file_of_every_kind() -> None:
    any_time = {"scenario": (), "since": None, "until": None, "users": ()}
    pin, *others = (dict(rule) for rule in RuleSet.parse(GOOD.encode()).rules)
    assert pin == {
        "name": "advent",
        "kind": "pin",
        "items": ("4710421090059", "007"),
        "position": 3,
        "scenario": ("home",),
        "since": datetime(2026, 11, 30, 23, tzinfo=timezone.utc),
        "until": datetime(2026, 12, 24, 17, tzinfo=timezone.utc),
        "users": (Condition("city", any_of=("176", "177")),),
    }
    of_brand, dear = Condition("brand", any_of=("77",)), Condition("price", minimum=3.0)
    assert others == [
        {**any_time, "name": "own brand", "kind": "boost", "factor": 2.5, "when": (of_brand, dear)},
        {**any_time, "name": "slow", "kind": "bury", "factor": 3.0, "when": (Condition("cate", none_of=("5",)),)},
        {
            **any_time,
            "name": "adults",
            "kind": "exclude",
            "when": (Condition("cate", any_of=("560",)),),
            "scenario": ("home", "related"),
        },
        {**any_time, "name": "mix", "kind": "at_most", "count": 2, "field": "brand", "first": 10},
        {**any_time, "name": "variety", "kind": "diversity", "strength": 0.3, "first": 200},
        {**any_time, "name": "new", "kind": "freshness", "share": 0.2, "field": "listed", "days": 30.0, "first": 20},
    ]


def test_a_rule_applies_to_its_scenarios_in_its_time_span_and_to_its_users() -> None:
    (pin, *_) = RuleSet.parse(GOOD.encode()).rules
    inside = datetime(2026, 11, 30, 23, tzinfo=timezone.utc)
    user = {"city": ("176",)}
    assert pin.applies("home", inside, user)
    assert pin.applies("", inside, user), "the scenario of a request that names none is home"
    assert not pin.applies("related", inside, user)
    assert not pin.applies("home", inside, {"city": ("178",)})
    assert not pin.applies("home", inside, {})
    assert not pin.applies("home", inside.replace(hour=22, minute=59), user)
    end = datetime(2026, 12, 24, 17, tzinfo=timezone.utc)
    assert pin.applies("home", end.replace(hour=16, minute=59), user)
    assert not pin.applies("home", end, user), "`until` itself is outside"


def test_rules_without_scenario_span_and_users_always_apply() -> None:
    rules = RuleSet.parse(GOOD.encode())
    now = datetime(2030, 1, 1, tzinfo=timezone.utc)
    names = [rule.name for rule in rules.applying("trending", now, {})]
    assert names == ["own brand", "slow", "mix", "variety", "new"]
    assert RuleSet.parse(b"rules: []").rules == ()


KEYS = "name, scenario, from, until, users, "
KINDS = "pin, boost, bury, exclude, at_most, diversity, freshness"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: must be a mapping with the key rules, such as rules: []"),
        ("# none\n- a", "line 2, column 1: must be a mapping with the key rules, such as rules: []"),
        ("rules: 3", 'line 1, column 8: must be a list, not "3"'),
        ("rules:\n  - 3", 'line 2, column 5: a rule must be a mapping with the keys name and kind, not "3"'),
        ("rules:\n  - {}", f"line 2, column 5: the key kind is missing: one of {KINDS}"),
        ("rule: []\nrules: []", 'line 1, column 1: unknown key "rule"; did you mean "rules"?; allowed: rules'),
        (
            "rules:\n  - name: x\n    kind: bost",
            f'line 3, column 11: rule "x": kind: "bost" is not one of {KINDS}; did you mean "boost"?',
        ),
        (
            "rules:\n  - name: x\n    kind: boost\n    factr: 2\n    when: a=1",
            'line 4, column 5: rule "x": unknown key "factr"; did you mean "factor"?; allowed: '
            f"{KEYS}when, kind, factor; see also line 2",
        ),
        (
            "rules:\n  - name: x\n    kind: boost\n    when: a=1",
            f'line 2, column 5: rule "x": the key "factor" is missing; allowed: {KEYS}when, kind, factor',
        ),
        (
            "rules:\n  - {name: x, kind: boost, when: a=1,\n     factor: 0.5}",
            'line 3, column 14: rule "x": factor: must be greater than or equal to 1, not "0.5"',
        ),
        (
            "rules:\n  - {name: x, kind: boost, when: a=1, factor: nan}",
            'line 2, column 47: rule "x": factor: must be a finite number, not "nan"',
        ),
        (
            "rules:\n  - {name: x, kind: exclude,\n  when: [a=1,\n  price]}",
            "line 4, column 3: rule \"x\": when: 'price' is not a condition: write cate=12,13 or cate!=5 or price>=3 or"
            " price<=9 or price=3..9",
        ),
        (
            "rules:\n  - {name: x, kind: exclude, when: []}",
            'line 2, column 36: rule "x": when: must have at least 1 entries, not 0',
        ),
        (
            "rules:\n  - {name: x, kind: pin, items: [a], position: 201}",
            'line 2, column 48: rule "x": position: must be less than or equal to 200, not "201"',
        ),
        (
            "rules:\n  - {name: x, kind: diversity, strength: 0.1, scenario: hoem}",
            'line 2, column 57: rule "x": scenario: "hoem" is not one of home, related, basket, repeat, trending; did'
            ' you mean "home"?',
        ),
        (
            "rules:\n  - {name: x, kind: diversity, strength: 0.1, from: 2026-12-01T00:00:00}",
            'line 2, column 53: rule "x": from: write an ISO 8601 time with a zone, such as 2026-12-24T18:00:00+01:00,'
            ' not "2026-12-01T00:00:00"',
        ),
        (
            "rules:\n  - {name: x, kind: diversity, strength: 0.1, from: 2026}",
            'line 2, column 53: rule "x": from: write an ISO 8601 time with a zone, such as 2026-12-24T18:00:00+01:00',
        ),
        (
            "rules:\n  - {name: x, kind: diversity, strength: 0.1,"
            " from: 2026-12-02T00:00:00Z, until: 2026-12-01T00:00:00Z}",
            'line 2, column 5: rule "x": never applies: until 2026-12-01T00:00:00+00:00 is not after from',
        ),
        (
            "rules:\n  - {name: x, kind: diversity, strength: 0}\n  - {name: x, kind: diversity, strength: 0}",
            'line 3, column 12: name: "x" is the name of the rule in line 2; choose another one',
        ),
        ("rules:\n  - {name: '', kind: diversity, strength: 0}", "line 2, column 12: name: must be a text of 1 to 64"),
        ("rules: [a\nb: c", "line 2, column 2: invalid YAML: expected ',' or ']', but got ':'"),
        ("rules: []\nrules: []", 'line 2, column 1: invalid YAML: key "rules" occurs twice'),
        ("rules:\n- {[a]: b}", "line 2, column 4: invalid YAML: a key must be a text"),
        (b"rules:\n  - name: \xff", "line 2, column 11: is not UTF-8"),
        ("rules:\n  - ä\0", "line 2, column 6: invalid YAML: special characters are not allowed"),
        ("rules: " + "[" * 20_000, "line 1, column 1: is nested too deeply"),
        ("rules: []\n" + "#" * MAX_RULES_BYTES, "line 2, column 65527: the file is longer than 65,536 bytes"),
    ],
)
def test_an_error_names_the_place_the_key_and_what_is_allowed(text: str | bytes, message: str) -> None:
    assert refused(text).startswith(f"rules.yaml {message}")


def test_further_lines_with_errors_are_listed() -> None:
    text = GOOD.replace("factor: 2.5", "factor: x").replace("strength: 0.3", "strength: 3")
    assert refused(text).endswith('not "x"; see also line 17')


def test_a_hostile_key_stays_on_one_line() -> None:
    assert 'unknown key "a  b"' in refused('rules: [{name: x, kind: diversity, strength: 1, "a\\n\\u2028b": 1}]')


def test_fields_that_do_not_exist_are_named() -> None:
    rules = RuleSet.parse(GOOD.encode())
    assert rules.unknown_fields({"brand", "cate", "prise"}, {"city"}, "r1") == [
        'rule "own brand": r1 has no item field "price"; did you mean "prise"?',
        'rule "new": r1 has no item field "listed"',
    ]
    assert rules.unknown_fields({"brand", "cate", "price", "listed"}, {"town"}, "r1") == [
        'rule "advent": r1 has no user field "city"'
    ]


def test_a_damaged_file_is_refused_in_one_line_or_read() -> None:
    """Never any other exception, whatever is cut out, doubled, replaced or inserted."""
    refused: list[str] = []

    @settings(max_examples=300, deadline=None)
    @given(st.randoms(use_true_random=False), st.integers(1, 6))
    def damage(random_: random.Random, changes: int) -> None:
        text = bytearray(GOOD.encode())
        for _ in range(changes):
            at, length = random_.randrange(len(text)), random_.randrange(12)
            piece = random_.choice(
                [b"", bytes(text[at : at + length]) * 2, b"&a ", b"*a", b"!!int ", b"\xff", b"{", b"- ", b"\n"]
            )
            text[at : at + length] = piece
        try:
            read = RuleSet.parse(bytes(text)).rules
        except DataError as error:
            found = ERROR.fullmatch(str(error))
            assert found, str(error)
            assert 1 <= int(found[1]) <= bytes(text).count(b"\n") + 2
            refused.append(str(error))
        else:
            assert len({rule.name for rule in read}) == len(read)

    damage()
    assert len(set(refused)) > 20, "hardly any damage was noticed"


_SCALARS = st.one_of(
    st.text(max_size=8), st.integers().map(str), st.floats().map(str), st.sampled_from(["", "pin", "a=1"])
)
_VALUES = st.recursive(
    _SCALARS, lambda of: st.lists(of, max_size=3) | st.dictionaries(_SCALARS, of, max_size=3), max_leaves=6
)
_KEYS = ("name", "kind", "items", "position", "factor", "when", "users", "scenario", "from", "until", "share", "field")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=6) | _VALUES, max_size=4))
def test_values_of_wrong_kinds_are_refused_in_one_line(rules: object) -> None:
    text = '{"rules": ' + json.dumps(rules) + "}"
    try:
        RuleSet.parse(text.encode())
    except DataError as error:
        assert ERROR.fullmatch(str(error)), str(error)
