"""Commands print the warnings of the report on a data set."""

import io
from pathlib import Path

from rich.console import Console

from local import datasets
from local.settings import LocalSettings
from recmesh.progress import NumberedSteps


def test_make_up_prints_warnings_each_time(tmp_path: Path) -> None:
    """The second run does not read the files again, and warns all the same."""
    shop = tmp_path / "Bob's shop"
    shop.mkdir()
    (shop / "schema.yaml").write_text("item: {id: sku}\naction: {user: user, item: sku, time: day}\n")
    (shop / "products.csv").write_text("sku\na\n")
    (shop / "actions.csv").write_text("user,sku,day\n1,a,2024-01-01\n1,gone,2024-01-02\n")
    settings = LocalSettings(home=tmp_path / "home")
    for reads in (1, 0):
        out = io.StringIO()
        datasets.checked(settings, str(shop), NumberedSteps(Console(file=out, width=300), 1))
        assert out.getvalue().count("reading and checking every row") == reads
        assert (
            "warning: actions: 1 of 2 rows name unknown users or items and are not used; the reason for 1 of them: "
            'sku_id is not in products, such as "gone" (first: actions.csv line 3)'
        ) in out.getvalue()
