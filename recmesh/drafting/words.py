"""What the names of columns say."""

import re

USER = re.compile(
    "account|buyer|client|customer|household|member|patron|person|profile|reader|shopper|subscriber|uid|user|viewer|visitor"
)
ITEM = re.compile(
    "album|article|artist|asin|book|content|course|film|game|goods|isbn|item|listing|movie|offer|product|recipe|restaurant"
    "|sku|song|story|track|video"
)
ID = re.compile("code|id|isbn|asin|key|no|nr|number|sku|uid")
TIME = re.compile("created|date|datetime|time|timestamp|ts|when")
TYPE = re.compile("action|activity|behaviour|behavior|event|interaction|kind|type")
RATING = re.compile("ratings?|score|stars")
AMOUNT = re.compile("amount|count|qty|quantity|units|value")
QUANTITY = re.compile(
    "age|amount|area|balance|cost|count|depth|discount|distance|duration|fee|height|income|length|margin|minutes|number"
    "|pages|percent|popularity|price|qty|quantity|ratings?|revenue|salary|sales|score|size|spend|stock|sum|total|volume"
    "|weight|width|year"
)
CODE = re.compile(
    "band|branch|brand|cate|category|city|class|cluster|code|colou?r|country|county|department|dept|district|family|gender"
    "|group|id|kind|level|location|occupation|plz|postal|postcode|province|region|segment|seller|sex|shop|state|status"
    "|store|subclass|supplier|tier|type|vendor|zip"
)
LIST = re.compile("attributes|authors|categories|colou?rs|genres|keywords|labels|materials|tags|topics")
WEIGHTS = {
    0.1: re.compile("browse|click|detail|page_?view|pv|view|view_item|viewed"),
    1.0: re.compile("add_?to_?cart|basket|bookmark|cart|comment|fav|favou?rite|follow|like|save|wishlist"),
    3.0: re.compile("bought|buy|checkout|order|ordered|purchase|purchased|transaction"),
}
"""Names of action types, by their usual weight."""


def words(name: str) -> list[str]:
    """Return the words in the name of a column: `birthDate` and `birth_date` have two, and so has `userid`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[a-z]{3})(?=id\b)", " ", name)
    return [word.casefold() for word in re.split(r"[\W_]+", spaced) if word]


def says(name: str, meaning: "re.Pattern[str]") -> bool:
    """Tell whether a word in a name has a meaning."""
    return any(meaning.fullmatch(word) for word in words(name))
