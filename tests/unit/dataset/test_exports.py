"""The importers of public layouts, on small files with the columns, quotes and forms that are published."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recmesh.dataset import DataSet, fetch, read
from recmesh.errors import DataError


def folder_with(path: Path, files: Mapping[str, object]) -> Path:
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content if isinstance(content, bytes) else str(content).encode())
    return path


def imported(name: str, source: Path) -> DataSet:
    return read(fetch(f"{name}:{source}", source.parent / "made"))


def actions(data: DataSet) -> list[tuple[Any, ...]]:
    """User, item, time as text, type and value of each action, by time."""
    time = pl.from_epoch("time", time_unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S")
    return data.actions.select(
        pl.col("user_id", "sku_id").cast(pl.String), time, pl.col("type").cast(pl.String), "value"
    ).rows()


ML_RATINGS = "userId,movieId,rating,timestamp\n1,296,5.0,1147880044\n1,4144,0.5,1147868828\n162541,1,3.5,1240953434\n"
ML_FILMS = (
    "movieId,title,genres\n1,Toy Story (1995),Adventure|Animation|Children\n"
    '296,"American President, The (1995)",Comedy\n4144,"Untitled ""Work""",(no genres listed)\n'
)


def test_movielens_25m(tmp_path: Path) -> None:
    files = {"ratings.csv": ML_RATINGS, "movies.csv": ML_FILMS, "links.csv": "movieId,imdbId,tmdbId\n1,0114709,862\n"}
    data = imported("movielens", folder_with(tmp_path / "ml-25m", files))
    assert data.users.rows() == [("1",), ("162541",)]
    assert data.items.rows() == [
        ("1", "Adventure", "1995", "Adventure|Animation|Children", "Toy Story (1995)"),
        ("296", "Comedy", "1995", "Comedy", "American President, The (1995)"),
        ("4144", None, None, None, 'Untitled "Work"'),
    ]
    assert actions(data) == [
        ("1", "4144", "2006-05-17 12:27:08", "rating", 0.5),
        ("1", "296", "2006-05-17 15:34:04", "rating", 5.0),
        ("162541", "1", "2009-04-28 21:17:14", "rating", 3.5),
    ]
    assert not data.schema.repeats


ML_1M = {
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n4169::M::50::0::66048-1234\n",
    "movies.dat": (
        "1::Toy Story (1995)::Animation|Children's|Comedy\n260::Star Wars: Episode IV - A New Hope (1977)::Action\n"
        "1176::Double Life of Veronique, The (La Double Vie de Véronique) (1991)::Drama\n"
    ).encode("latin-1"),
    "ratings.dat": "1::260::5::978300760\n2::1::3::978302109\n4169::1176::4::971580959\n",
}


def test_movielens_1m_with_users_and_latin_1_titles(tmp_path: Path) -> None:
    data = imported("movielens", folder_with(tmp_path / "ml-1m", ML_1M))
    assert data.users.rows() == [("1", "1", "F", "10", "4"), ("2", "56", "M", "16", "7"), ("4169", "50", "M", "0", "6")]
    assert data.items.rows() == [
        ("1", "Animation", "1995", "Animation|Children's|Comedy", "Toy Story (1995)"),
        ("1176", "Drama", "1991", "Drama", "Double Life of Veronique, The (La Double Vie de Véronique) (1991)"),
        ("260", "Action", "1977", "Action", "Star Wars: Episode IV - A New Hope (1977)"),
    ]
    assert actions(data) == [
        ("4169", "1176", "2000-10-15 03:35:59", "rating", 4.0),
        ("1", "260", "2000-12-31 22:12:40", "rating", 5.0),
        ("2", "1", "2000-12-31 22:35:09", "rating", 3.0),
    ]


def test_movielens_10m_has_no_users(tmp_path: Path) -> None:
    files = {
        "movies.dat": "122::Boomerang (1992)::Comedy|Romance\n",
        "ratings.dat": "1::122::4.5::838985046\n",
        "tags.dat": "15::4973::excellent!::1215184630\n",
    }
    data = imported("movielens", folder_with(tmp_path / "ml-10M100K", files))
    assert data.users.rows() == [("1",)]
    assert actions(data) == [("1", "122", "1996-08-02 11:24:06", "rating", 4.5)]


RETAILROCKET = {
    "events.csv": (
        "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"
        "1433221999827,111016,addtocart,318965,\n1433222531378,111016,transaction,318965,4000\n"
    ),
    "item_properties_part1.csv": (
        "timestamp,itemid,property,value\n1435460400000,355908,categoryid,1338\n"
        "1433041200000,355908,790,n12000.000\n1436065200000,355908,790,n15360.000\n"
        "1441508400000,206783,888,1116713 960601 n277.200\n"
    ),
    "item_properties_part2.csv": (
        "timestamp,itemid,property,value\n1433041200000,206783,categoryid,809\n1433041200000,355908,available,1\n"
        "1434250800000,355908,categoryid,536\n"
    ),
    "category_tree.csv": "categoryid,parentid\n1338,213\n213,\n809,169\n231,\n536,1338\n",
}


def test_retailrocket(tmp_path: Path) -> None:
    data = imported("retailrocket", folder_with(tmp_path / "rr", RETAILROCKET))
    assert data.users.rows() == [("111016",), ("257597",)]
    # The last category and the last price; the root of 809 is 169, which the tree does not list by itself.
    assert data.items.rows() == [
        ("206783", "809", "169", None),
        ("318965", None, None, None),
        ("355908", "1338", "213", "15360.000"),
    ]
    assert actions(data) == [
        ("257597", "355908", "2015-06-02 05:02:12", "view", 1.0),
        ("111016", "318965", "2015-06-02 05:13:19", "addtocart", 1.0),
        ("111016", "318965", "2015-06-02 05:22:11", "transaction", 1.0),
    ]
    assert data.schema.weight("transaction") == 3


INSTACART = {
    "orders.csv": (
        "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order\n"
        "2539329,1,prior,1,2,08,\n2398795,1,prior,2,3,07,15.0\n1187899,1,train,3,4,08,1.0\n"
        "2168274,2,prior,1,2,11,\n1492625,2,test,2,1,11,30.0\n"
    ),
    "order_products__prior.csv": (
        "order_id,product_id,add_to_cart_order,reordered\n2539329,196,1,0\n2398795,196,1,1\n2168274,32792,1,0\n"
    ),
    "order_products__train.csv": "order_id,product_id,add_to_cart_order,reordered\n1187899,14084,1,1\n",
    "products.csv": (
        "product_id,product_name,aisle_id,department_id\n196,Soda,77,7\n"
        '14084,"Organic Vanilla Almond Milk, ""0.5 gal""",91,16\n32792,Chipotle Beef & Pork Realstick,23,19\n'
    ),
    "aisles.csv": "aisle_id,aisle\n23,popcorn jerky\n77,soft drinks\n91,soy lactosefree\n",
    "departments.csv": "department_id,department\n7,beverages\n16,dairy eggs\n19,snacks\n",
}


def test_instacart(tmp_path: Path) -> None:
    data = imported("instacart", folder_with(tmp_path / "instacart", INSTACART))
    assert data.users.rows() == [("1",), ("2",)]
    assert data.items.rows() == [
        ("14084", "soy lactosefree", "dairy eggs", 'Organic Vanilla Almond Milk, "0.5 gal"'),
        ("196", "soft drinks", "beverages", "Soda"),
        ("32792", "popcorn jerky", "snacks", "Chipotle Beef & Pork Realstick"),
    ]
    # Both last orders are in the week of 1 January 2017, on days 4 and 1; the order of user 2 in it is not published.
    assert actions(data) == [
        ("2", "32792", "2016-12-03 11:00:00", "order", 1.0),
        ("1", "196", "2016-12-20 08:00:00", "order", 1.0),
        ("1", "196", "2017-01-04 07:00:00", "order", 1.0),
        ("1", "14084", "2017-01-05 08:00:00", "order", 1.0),
    ]


HM_ARTICLES = (
    "article_id,product_code,prod_name,product_type_no,product_type_name,product_group_name,graphical_appearance_no,"
    "graphical_appearance_name,colour_group_code,colour_group_name,perceived_colour_value_id,"
    "perceived_colour_value_name,perceived_colour_master_id,perceived_colour_master_name,department_no,"
    "department_name,index_code,index_name,index_group_no,index_group_name,section_no,section_name,garment_group_no,"
    "garment_group_name,detail_desc\n"
    "0108775015,0108775,Strap top,253,Vest top,Garment Upper body,1010016,Solid,09,Black,4,Dark,5,Black,1676,"
    "Jersey Basic,A,Ladieswear,1,Ladieswear,16,Womens Everyday Basics,1002,Jersey Basic,"
    '"Top, with narrow straps."\n'
)
HM = {
    "articles.csv": HM_ARTICLES,
    "customers.csv": (
        "customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code\n"
        "00000dbacae5abe5e23885899a1fa442,,,ACTIVE,NONE,49.0,52043ee2162cf5aa\n"
        "0000423b00ade91418cceaf3b26c6af3,1.0,1.0,PRE-CREATE,Regularly,,2973abc54daa8a5f\n"
    ),
    "transactions_train.csv": (
        "t_dat,customer_id,article_id,price,sales_channel_id\n"
        "2018-09-20,00000dbacae5abe5e23885899a1fa442,0108775015,0.0508305084745762,2\n"
        "2018-09-20,00000dbacae5abe5e23885899a1fa442,0108775015,0.0508305084745762,2\n"
        "2020-09-22,0000423b00ade91418cceaf3b26c6af3,0108775015,0.0304915254237288,1\n"
    ),
}


def test_hm(tmp_path: Path) -> None:
    data = imported("hm", folder_with(tmp_path / "hm", HM))
    assert data.users.rows() == [
        ("00000dbacae5abe5e23885899a1fa442", "49.0", "ACTIVE", "NONE", None, None),
        ("0000423b00ade91418cceaf3b26c6af3", None, "PRE-CREATE", "Regularly", "1.0", "1.0"),
    ]
    (article,) = data.items.iter_rows(named=True)
    assert (article["sku_id"], article["product_code"], article["cate"]) == ("0108775015", "0108775", "Vest top")
    assert article["garment_group_name"] == "Jersey Basic"
    assert (article["title"], article["detail_desc"]) == ("Strap top", "Top, with narrow straps.")
    assert actions(data) == [  # two pieces of one article on one day are one action
        ("00000dbacae5abe5e23885899a1fa442", "0108775015", "2018-09-20 00:00:00", "order", 1.0),
        ("0000423b00ade91418cceaf3b26c6af3", "0108775015", "2020-09-22 00:00:00", "order", 1.0),
    ]


JDATA = {
    "jdata_user.csv": (
        "user_id,age,sex,user_reg_tm,user_lv_cd,city_level,province,city,county\n"
        "1,5.0,1.0,2016-04-26,4,5.0,20.0,176.0,1933.0\n2,,-1.0,2012-01-13,6,,,,\n"
    ),
    "jdata_product.csv": (
        "sku_id,brand,shop_id,cate,market_time\n226519,6302,2399,79,2015-07-02 11:19:04.0\n"
        "63114,9167,4580,70,2016-07-08 14:29:12.0\n357022,1,999999,5,2017-01-01 00:00:00.0\n"
    ),
    "jdata_shop.csv": (
        "vender_id,shop_id,fans_num,vip_num,shop_reg_tm,cate,shop_score\n"
        "3666,2399,35240,55713,2014-04-10 00:00:00.0,79,9.411\n2,4580,10,20,,70,0.0\n"
    ),
    "jdata_comment.csv": "dt,sku_id,comments,good_comments,bad_comments\n2018-02-01,226519,2,2,0\n",
    "jdata_action.csv": (
        "user_id,sku_id,action_time,module_id,type\n1,357022,2018-02-04 08:28:15,8107857,1\n"
        "1,226519,2018-02-04 08:29:00,6190659,2\n2,63114,2018-03-01 23:59:59,1,3\n2,63114,2018-04-08 00:00:00,1,5\n"
        "1,226519,2018-02-20 10:00:00,1,4\n2,404,2018-02-20 10:00:00,1,1\n"
    ),
}


def test_jdata(tmp_path: Path) -> None:
    data = imported("jdata", folder_with(tmp_path / "jdata", JDATA))
    assert data.users.columns == ["user_id", "age", "sex", "city_level", "province", "city", "country", "level"]
    assert data.users.rows() == [
        ("1", "5.0", "1.0", "5.0", "20.0", "176.0", "1933.0", "4"),
        ("2", None, None, None, None, None, None, "6"),
    ]
    assert data.items.columns == ["sku_id", "brand", "shopid", "cate", "shop_cate", "shop_score"]
    assert data.items.rows() == [
        ("226519", "6302", "2399", "79", "79", "9.411"),
        ("357022", "1", "999999", "5", None, None),
        ("63114", "9167", "4580", "70", "70", None),
    ]
    assert actions(data) == [
        ("1", "357022", "2018-02-04 08:28:15", "view", 1.0),
        ("1", "226519", "2018-02-04 08:29:00", "order", 1.0),
        ("1", "226519", "2018-02-20 10:00:00", "comment", 1.0),
        ("2", "63114", "2018-03-01 23:59:59", "follow", 1.0),
        ("2", "63114", "2018-04-08 00:00:00", "cart", 1.0),
    ]
    assert (data.schema.weight("view"), data.schema.weight("order"), data.schema.weight("comment")) == (0.1, 3, 0)


def event(name: str, microseconds: int, items: list[dict[str, Any]] | None = None, **more: Any) -> str:
    """A line of the export: 64-bit integers are text, and what is null is left out."""
    content = {
        "event_date": "20210131",
        "event_timestamp": str(microseconds),
        "event_name": name,
        "event_params": [
            {"key": "ga_session_id", "value": {"int_value": "661084800"}},
            {"key": "page_location", "value": {"string_value": "https://shop.example/"}},
        ],
        "user_pseudo_id": "1026454.4271112504",
        "device": {"category": "mobile", "mobile_brand_name": "Apple"},
        "geo": {"continent": "Asia", "country": "India", "city": "(not set)"},
        "ecommerce": {"purchase_revenue": 42.5, "total_item_quantity": "1"},
        "items": items or [],
        **more,
    }
    return json.dumps(content, separators=(",", ":")) + "\n"


TEE = {"item_id": "9188101", "item_name": "Tee", "item_brand": "(not set)", "item_category": "Apparel", "price": 12.5}
CAP = {"item_id": "(not set)", "item_name": "Cap", "item_category": "Hats", "price": 30, "quantity": "2"}


def test_ga4(tmp_path: Path) -> None:
    first = (
        event("page_view", 1612069510000000)
        + event("view_item", 1612069510766593, [{**TEE, "price": 15.0}, CAP])
        + event("view_item_list", 1612069511000000, [TEE, CAP])
        + event("purchase", 1612069700000000, [TEE], user_id="ann", geo={"country": "Peru", "city": "Lima"})
        + event("refund", 1612069710000000, [TEE], user_id="ann", geo={"country": "Peru", "city": "Lima"})
    )
    second = event("add_to_cart", 1612069600000000, [CAP], device={"category": "desktop"})
    source = folder_with(tmp_path / "ga[4]", {"events-000000000000.json": first})
    (source / "events-000000000001.json.gz").write_bytes(gzip.compress(second.encode()))
    data = imported("ga4", source)
    assert data.users.columns == ["user_id", "device", "country", "city"]
    assert data.users.rows() == [("1026454.4271112504", "desktop", "India", None), ("ann", "mobile", "Peru", "Lima")]
    assert data.items.columns == ["sku_id", "brand", "cate", "cate2", "price", "title"]
    assert data.items.rows() == [
        ("9188101", None, "Apparel", None, "12.5", "Tee"),
        ("Cap", None, "Hats", None, "30", "Cap"),
    ]
    assert actions(data) == [
        ("1026454.4271112504", "9188101", "2021-01-31 05:05:10", "view_item", 1.0),
        ("1026454.4271112504", "Cap", "2021-01-31 05:05:10", "view_item", 2.0),
        ("1026454.4271112504", "Cap", "2021-01-31 05:06:40", "add_to_cart", 2.0),
        ("ann", "9188101", "2021-01-31 05:08:20", "purchase", 1.0),
        ("ann", "9188101", "2021-01-31 05:08:30", "refund", -1.0),
    ]


LAYOUTS: dict[str, dict[str, str]] = {
    "retailrocket": RETAILROCKET,
    "instacart": INSTACART,
    "hm": HM,
    "jdata": JDATA,
    "movielens": {"ratings.csv": ML_RATINGS, "movies.csv": ML_FILMS},
}


@pytest.mark.parametrize(
    ("name", "file"),
    [(name, file) for name, files in LAYOUTS.items() for file in files if file != "jdata_comment.csv"],
)
def test_a_missing_file_or_column_is_one_line_that_names_it(tmp_path: Path, name: str, file: str) -> None:
    files = LAYOUTS[name]
    without = folder_with(tmp_path / "without", {k: text for k, text in files.items() if k != file})
    with pytest.raises(DataError) as caught:
        fetch(f"{name}:{without}", tmp_path / "made")
    assert str(caught.value).startswith(f"{without}: no {file}")
    assert "\n" not in str(caught.value)

    header, _, rest = files[file].partition("\n")
    first = "shop_id" if file == "jdata_shop.csv" else header.split(",")[0]
    renamed = folder_with(tmp_path / "renamed", {**files, file: f"{header.replace(first, f'x{first}')}\n{rest}"})
    with pytest.raises(DataError) as caught:
        fetch(f"{name}:{renamed}", tmp_path / "made")
    assert str(caught.value).startswith(f'{renamed / file}: no column "{first}"; did you mean "x{first}"? It has: ')
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()

    for row in ("1", ",".join("1" * 40)):  # cut off, or with too many cells
        broken = folder_with(tmp_path / row, {**files, file: f"{files[file]}{row}\n"})
        with pytest.raises(DataError) as caught:
            fetch(f"{name}:{broken}", tmp_path / "made")
        line = files[file].count("\n") + 1
        assert str(caught.value).startswith(f"{broken / file}: line {line}: {row.count(',') + 1} columns instead of ")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("movielens:{}/nowhere", "no such folder; it must hold the files of movielens as they are published"),
        ("movielens", "movielens: say where the published files are, as in movielens:FOLDER"),
        ("movielens:", "say where the published files are"),
        ("movielans:{}", 'unknown data set "movielans'),
        ("ga4:{}", "no file of JSON lines"),
        ("ta_feng:{}", 'unknown data set "ta_feng'),
    ],
)
def test_an_unusable_source_is_one_line(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message) as caught:
        fetch(source.format(tmp_path / "empty"), tmp_path / "made")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json\n", "e.json: line 1 is not JSON"),
        ('{"event_name":"purchase","event_timestamp":"1"}\n', "e.json: line 1 has no user_pseudo_id"),
        (event("page_view", 1), "no event of view_item, .*, purchase, refund has items"),
        (event("purchase", 1, [TEE]) + "{broken\n", "ga4:"),
    ],
)
def test_lines_that_are_no_export_of_events_are_refused(tmp_path: Path, text: str, message: str) -> None:
    source = folder_with(tmp_path / "ga4", {"e.json": text})
    with pytest.raises(DataError, match=message) as caught:
        fetch(f"ga4:{source}", tmp_path / "made")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "ratings.dat",
            "1::260::5\n",
            "line 1 has 3 columns separated by ::, not 4: user_id, sku_id, rating, action_time",
        ),
        ("movies.dat", "1::Toy Story (1995)\n", "movies.dat: line 1 is not MovieID::Title::Genres"),
        ("ratings.dat", "1::260::5::978300760\n1::260::5::978300760::extra\n", "ratings.dat: line 2 has 5 columns"),
    ],
)
def test_dat_files_of_another_form_are_refused(tmp_path: Path, file: str, content: str, message: str) -> None:
    source = folder_with(tmp_path / "ml-1m", {**ML_1M, file: content})
    with pytest.raises(DataError, match=message) as caught:
        fetch(f"movielens:{source}", tmp_path / "made")
    assert "\n" not in str(caught.value)
