"""``/openapi.json``: valid, whole, and true; and the tests' own witness that it is."""

import logging
from typing import Any

import attrs
import jsonschema_rs
import msgspec
import pytest
import schemathesis.specs.openapi.definitions as meta

import statusd.serving
import statusd.web.app
from statusd import Document, Problem, View, problem
from statusd.web.access import CHALLENGE, GUARDED, PROBES, SECURITY, is_below
from statusd.web.answering import Answers
from statusd.web.documents import Page
from statusd.web.edge.front import Front
from statusd.web.openapi import openapi_document
from statusd.web.problems import phrase
from statusd.web.site import RESERVED
from tests import openapi
from tests.openapi import Contract, ViolationError
from tests.web.client import CLOSE, CONTEXT, BigView, Web


class Cat(msgspec.Struct):
    """A cat. And more.

    Attributes:
        name: how it
            is called.
        legs, eyes: how many.
    """

    name: str
    legs: int
    eyes: int


@attrs.frozen(kw_only=True)
class CatView(View):
    """``/cat``: the cat."""

    name = "cat"
    kinds: Any = attrs.field(factory=lambda: {200: Cat | list[Cat], 503: Problem})
    answer: Any = None

    def paths(self):
        return ("/cat",)

    def responses(self, path):
        if isinstance(self.kinds, Exception):
            raise self.kinds
        return self.kinds

    def render(self, path, snapshot):
        return self.answer


def described(*views):
    return openapi_document([Page(view=view, path=path) for view in views for path in view.paths()])


def test_it_is_valid_openapi_with_valid_schemas():
    document = described(BigView(context=CONTEXT), CatView(context=CONTEXT))
    assert [error.message for error in meta.OPENAPI_31_VALIDATOR.iter_errors(document)] == []
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    for each in (*document["components"]["parameters"].values(), *document["components"]["headers"].values()):
        jsonschema_rs.meta.validate(each["schema"])


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_every_reference_leads_somewhere_and_every_component_is_used_or_told_of():
    document = described(CatView(context=CONTEXT))
    targets = {
        f"#/components/{wing}/{name}" for wing, named in document["components"].items() for name in named
    }
    operations = [one for item in document["paths"].values() for one in item.values()]
    schemes = {name for one in operations for wanted in one.get("security", ()) for name in wanted}
    used = set(references(document)) | {f"#/components/securitySchemes/{name}" for name in schemes}
    assert used <= targets
    assert targets - used == {"#/components/responses/MethodNotAllowed"}  # of methods that are no operations


def test_every_path_of_the_daemon_is_in_it_with_every_method():
    paths = described()["paths"]
    whole = {path for path in RESERVED if not path.endswith("/*")}
    assert whole <= set(paths)
    for path in RESERVED:
        if path.endswith("/*"):
            assert {one.count("{") for one in paths if one.startswith(path[:-1])} == {1, 2, 3, 4}
    for item in paths.values():
        assert list(item) == ["get", "head", "options"]
        assert item["get"]["summary"]
        assert all("content" not in one for one in item["head"]["responses"].values())
        assert item["get"]["responses"].keys() == item["head"]["responses"].keys()
    names = [one["operationId"] for item in paths.values() for one in item.values()]
    assert len(names) == len(set(names))


def test_a_view_is_described_by_its_types_and_their_docstrings():
    document = described(CatView(context=CONTEXT))
    operation = document["paths"]["/cat"]["get"]
    assert (operation["summary"], operation["tags"]) == ("`/cat`: the cat", ["cat"])
    assert operation["responses"]["200"]["content"] == {
        "application/json": {
            "schema": {
                "anyOf": [
                    {"$ref": "#/components/schemas/Cat"},
                    {"type": "array", "items": {"$ref": "#/components/schemas/Cat"}},
                ]
            }
        }
    }
    assert list(operation["responses"]["503"]["content"]) == ["application/problem+json"]
    cat = document["components"]["schemas"]["Cat"]
    assert cat["description"] == "A cat. And more"
    assert {name: one["description"] for name, one in cat["properties"].items()} == {
        "name": "How it is called", "legs": "How many", "eyes": "How many",
    }  # fmt: skip


class NotDescribable:
    pass


@pytest.mark.parametrize(
    "kinds",
    [{200: NotDescribable}, {"200": Cat}, {99: Cat}, {True: Cat}, None, 3, RuntimeError("no")],
    ids=repr,
)
def test_a_view_that_cannot_say_what_it_answers_is_described_as_answering_anything(kinds, caplog):
    with caplog.at_level(logging.ERROR, "statusd.web"):
        document = described(CatView(context=CONTEXT, kinds=kinds), BigView(context=CONTEXT))
    assert document["paths"]["/cat"]["get"]["responses"].keys() >= {"200", "default"}
    (record,) = caplog.records
    assert "/cat" in record.getMessage()


def test_a_view_that_says_nothing_may_answer_anything():
    responses = described(BigView(context=CONTEXT))["paths"]["/big"]["get"]["responses"]
    assert responses["200"]["content"] == responses["default"]["content"] == {"*/*": {"schema": {}}}


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (Document(body=b'{"name":"x","legs":4,"eyes":2}'), ""),
        (Document(body=b'[{"name":"x","legs":4,"eyes":2}]'), ""),
        (problem(503, "Not now", "asleep"), ""),
        (Document(body=b'{"name":"x","legs":4}'), "not valid under any"),
        (Document(body=b'{"name":"x","legs":4,"eyes":2,"tail":1}'), "not valid under any"),
        (Document(body=b"{}", content_type="text/plain"), "text/plain is not documented"),
        (Document(body=b"{}", status=201), "-> 201: not documented"),
        (Document(body=b"{", content_type="application/json"), "Expecting property name"),
        (Document(body=b"{}", status=503, content_type="application/problem+json"), "another status"),
    ],
)
async def test_the_witness_sees_every_answer_that_is_not_as_documented(
    answer, complaint, nursery, autojump_clock
):
    site = Web.open(nursery, CatView(context=CONTEXT, answer=answer))
    await site.ask(b"GET /cat HTTP/1.1" + CLOSE)
    found, openapi.VIOLATIONS[:] = set(openapi.VIOLATIONS), []
    assert [complaint in one for one in found] == ([True] if complaint else [])


GOOD = {"etag": '"x"', "age": "0", "cache-control": "no-cache", "cache-status": "statusd; hit",
        **SECURITY, "content-type": "application/json"}  # fmt: skip
EVENT = b'id: 7\nevent: change\ndata: {"revision": 7, "changes": [{"path": "a", "node": null}]}\n\n'


@pytest.mark.parametrize("name", [name for name in GOOD if name != "content-type"])
def test_it_misses_every_header_field(name):
    contract = Contract(described(CatView(context=CONTEXT)))
    body = b'{"name":"x","legs":4,"eyes":2}'
    contract.hold("GET", "/cat?x=1", 200, GOOD, body)
    with pytest.raises(ViolationError, match=f"(?i)no {name}"):
        contract.hold("GET", "/cat", 200, {key: GOOD[key] for key in GOOD if key != name}, body)
    with pytest.raises(ViolationError, match=f"(?i){name}"):
        contract.hold("GET", "/cat", 200, GOOD | {name: "\x7f"}, body)


def test_it_reads_events():
    contract = Contract(described())
    fields = {"cache-control": "no-store", "x-accel-buffering": "no", "content-type": "text/event-stream",
              **SECURITY}  # fmt: skip
    contract.hold("GET", "/events", 200, fields, b"retry: 2000\n\n" + EVENT + b": beat\n\n")
    for good, bad in ((b'"a"', b"3"), (b"change\n", b"other\n"), (b"id: 7", b"id: x"), (b"null", b"{}")):
        with pytest.raises((ViolationError, KeyError)):
            contract.hold("GET", "/events", 200, fields, EVENT.replace(good, bad))


def test_paths_and_methods_that_are_not_served_have_their_answer():
    contract = Contract(described())
    wrong = {"content-type": "application/problem+json", **SECURITY}
    none = problem(404, "Not Found", "not_found").body
    contract.hold("GET", "/nope", 404, wrong, none)
    contract.hold("PUT", "/nope", 404, wrong, none)
    contract.hold("GET", "/state/models/x", 404, wrong, none)
    contract.hold(
        "POST", "/health", 405, wrong | {"allow": "GET, HEAD, OPTIONS"}, none.replace(b"404", b"405")
    )
    for method, path, status in (
        ("GET", "/health", 404),
        ("POST", "/health", 404),
        ("GET", "/nope", 200),
        ("POST", "/nope", 405),
        ("GET", "/state/a/b/c/d/e", 200),
    ):
        with pytest.raises(ViolationError, match="not documented"):
            contract.hold(method, path, status, wrong, none)


def test_every_in_process_daemon_has_a_witness():
    assert statusd.serving.create_app is statusd.web.app.create_app
    assert statusd.web.app.create_app.__wrapped__.__module__ == "statusd.web.app"
    assert Front.reply.__wrapped__.__module__ == "statusd.web.edge.front"
    assert Answers.at_once.__wrapped__.__module__ == "statusd.web.answering"


def test_a_header_field_that_is_not_documented_is_seen():
    contract = Contract(described(CatView(context=CONTEXT)))
    body = b'{"name":"x","legs":4,"eyes":2}'
    contract.hold("GET", "/cat", 200, GOOD | {"vary": "Origin", "date": "x"}, body)
    for name, value in {"server": "statusd", "vary": "Accept", "allow": "GET", "retry-after": "1"}.items():
        with pytest.raises(ViolationError, match=name if name != "vary" else "Vary"):
            contract.hold("GET", "/cat", 200, GOOD | {name: value}, body)


def test_what_wants_a_token_says_so_and_has_401_and_what_is_guarded_421():
    document = described(CatView(context=CONTEXT))
    for path, item in document["paths"].items():
        is_probe = is_below(path, PROBES)
        for method in ("get", "head"):
            operation = item[method]
            assert ("security" in operation) is ("401" in operation["responses"]) is not is_probe
            if not is_probe:
                assert operation["security"] == ({}, {"token": ()}, {"password": ()})
        assert "security" not in item["options"]
        assert "401" not in item["options"]["responses"]
        for operation in item.values():
            assert ("421" in operation["responses"]) is is_below(path, GUARDED)
            assert ("429" in operation["responses"]) is not is_probe
    wanted = document["components"]["responses"]["Unauthorized"]["headers"]["WWW-Authenticate"]
    assert wanted == {"$ref": "#/components/headers/WWW-Authenticate"}
    assert document["components"]["headers"]["WWW-Authenticate"]["schema"]["const"] == CHALLENGE


def test_an_answer_that_either_a_view_or_statusd_gives_is_described_as_either():
    document = described(CatView(context=CONTEXT, kinds={200: Cat, 503: Problem, 404: Cat, 500: Cat}))
    both = document["paths"]["/cat"]["get"]["responses"]["503"]
    assert list(both["content"]) == ["application/problem+json"]
    assert both["headers"]["ETag"]["required"] is both["headers"]["Retry-After"]["required"] is False
    assert both["headers"]["X-Content-Type-Options"] == {
        "$ref": "#/components/headers/X-Content-Type-Options"
    }
    failed = document["paths"]["/cat"]["get"]["responses"]["500"]
    assert set(failed["content"]) == {"application/json", "application/problem+json"}
    contract = Contract(document)
    contract.hold("GET", "/cat", 500, GOOD, b'{"name":"x","legs":4,"eyes":2}')
    wrong = {"content-type": "application/problem+json", **SECURITY}
    contract.hold("GET", "/cat", 500, wrong, problem(500, "Internal Server Error", "internal_error").body)
    contract.hold(
        "GET", "/cat", 503, wrong | {"retry-after": "10"}, problem(503, "x", "too_many_waiting").body
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, {"unauthorized"}),
        (421, {"unknown_host"}),
        (429, {"too_many_from_address"}),
        (503, {"too_many_connections", "too_many_streams", "too_many_waiting"}),
    ],
)
def test_every_reason_of_a_refusal_is_shown_with_its_remedy(status, expected):
    name = "".join(phrase(status).split())
    shown = described()["components"]["responses"][name]["content"]["application/problem+json"]["examples"]
    assert set(shown) == expected
    for reason, example in shown.items():
        assert example["value"]["reason"] == reason
        assert example["value"]["title"] == phrase(status)
        assert any(
            word in example["value"]["detail"] for word in ("add", "ask again", "close some", "send it")
        )
