"""The client's guide names all that is public."""

import re
from pathlib import Path

from statusd import client

GUIDE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()


def test_every_public_name_is_described():
    missing = [
        name
        for name in client.__all__
        if name not in {"Events", "TrioEvents", "Update", "Quality"} and name not in GUIDE
    ]
    assert missing == []


def test_every_reason_is_described():
    listed = set(re.findall(r"``(\w+)``", client.ClientError.__doc__))
    table = GUIDE.split("| `reason` |")[1].split("\n\n")[0]
    first_cells = " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("|"))
    assert set(re.findall(r"`(\w+)`", first_cells)) == listed


def test_every_argument_and_attribute_is_described():
    for kind in (
        client.TreeState,
        client.Explanation,
        client.Quality,
        client.TreeSnapshot,
        client.NodeChange,
    ):
        for field in kind.__attrs_attrs__:
            assert f"`{field.name}`" in GUIDE or f"{field.name}," in GUIDE or f"{field.name})" in GUIDE, (
                field.name
            )
