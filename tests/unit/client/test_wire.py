from recmesh.client import AS, CM, RANK, RECALL, UM, History, Item, Targets, wire


def test_a_history_survives_the_wire() -> None:
    history = History(("a", "b", "c"), (3, 2, 1), ("order", "view", "order"), (2.0, 1.0, 1.0), ("z",))
    message = wire.history_message(history)
    assert list(message.type_names) == ["order", "view"]
    assert wire.to_user(UM.response(history=message)).history == history


def test_fields_go_by_number_or_as_attributes_and_come_back() -> None:
    item = Item("a", {"brand": "x", "price": "3"})
    message = wire.item_info(item)
    assert (message.brand, dict(message.attributes)) == ("x", {"price": "3"})
    assert wire.to_item(message) == item


def test_the_paths_are_those_of_the_contract() -> None:
    assert [method.path for method in (UM, CM, RECALL, RANK, AS)] == [
        "/um.UMService/um_call",
        "/cm.CMService/cm_call",
        "/recall.RecallService/recall",
        "/RankService/rank_predict",
        "/as.ASService/as_call",
    ]


def test_targets_come_from_the_environment() -> None:
    targets = Targets.from_environment(
        {"RECMESH_AS_TARGET": "dns:///as:1", "RECMESH_UM_PORT": "7", "RECMESH_CM_TARGET": ""}
    )
    assert [targets[name] for name in ("as", "um", "cm")] == ["dns:///as:1", "127.0.0.1:7", "127.0.0.1:8920"]
    assert targets.having("um", "x:1")["um"] == "x:1"
