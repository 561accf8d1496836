import logging

import attrs
import pytest

from statusd import Document, Node, Snapshot, Status, View
from statusd.errors import StartError
from statusd.plugin.validation import MAX_PAYLOAD
from tests.web.client import CONTEXT, MODELS, ROOT, Served, documents, service, snapshot


@attrs.define
class Hub:
    """Holds the snapshot that documents are made from."""

    version: int = 1
    root: Node = ROOT

    def __call__(self) -> Snapshot:
        return snapshot(self.root, version=self.version)


@attrs.define
class Told:
    """Remembers what was said about views."""

    said: list[tuple[str, str, str | None]] = attrs.field(factory=list)

    def __call__(self, view: str, path: str, message: str | None) -> None:
        self.said.append((view, path, message))


def view_of(render, *paths, name="example"):
    """Return a view whose `render` is called with path and snapshot."""

    class Example(View):
        def paths(self):
            return paths or ("/example",)

        def render(self, path, snapshot):
            return render(path, snapshot)

    Example.name = name
    return Example(context=CONTEXT)


def opened(*views, hub=None):
    told = Told()
    return Served(service(*views, hub=hub or Hub(), on_view_failed=told)), told


def text(body):
    return Document(body=body, content_type="text/plain")


@pytest.mark.parametrize("path", ["/health", "/healthz", "/%68ealth"])
def test_health_is_fixed_and_asks_nobody(path):
    def fail():
        raise AssertionError

    served = Served(service(hub=fail, on_view_failed=fail))
    assert served.get(path) == Document(body=b'{"status":"ok"}')


@pytest.mark.parametrize(
    "path", ["/health/", "//health", "/Health", "//", "", "/state/", "/state/models/", "/nope", "/readyz/"]
)
def test_other_paths_have_no_document(path):
    assert documents().get(path) is None


@pytest.mark.parametrize(
    ("path", "branch"),
    [
        ("/state", ""),
        ("/%73tate", ""),
        ("/state/models", "models"),
        ("/state/models/a%2Fb", "models/a%2Fb"),
        ("/state/models/a%2fb", "models/a%2Fb"),
        ("/state/models/qwen2.5:7b", "models/qwen2.5%3A7b"),
    ],
)
def test_the_tree_is_served_by_raw_path(path, branch):
    assert f'"path":"{branch}"'.encode() in documents().get(path).body


def test_a_slash_in_a_model_id_is_not_a_branch():
    assert documents().get("/state/models/a/b") is None


def test_documents_are_rendered_once_for_each_version_and_only_when_asked_for():
    hub, calls = Hub(), []
    served, _ = opened(view_of(lambda path, found: calls.append(found.version) or text(b"x")), hub=hub)
    assert calls == []
    served.get("/example"), served.get("/example")
    hub.version = 2
    hub.version = 3
    served.get("/example"), served.get("/example")
    assert calls == [1, 3]


def test_branches_follow_the_tree_and_do_not_pile_up():
    hub = Hub()
    served, _ = opened(hub=hub)
    assert served.get("/state/models/a%2Fb") is served.get("/state/models/a%2fb")
    hub.root, hub.version = attrs.evolve(ROOT, children={}), 2
    assert served.get("/state/models/a%2Fb") is None
    served.get("/state")
    assert list(served.service.site._branches._rendered) == [""]
    hub.root, hub.version = attrs.evolve(ROOT, children={"models": MODELS}), 3
    assert served.get("/state/models/a%2Fb") is not None


def test_each_of_a_views_paths_is_rendered_by_itself():
    served, _ = opened(view_of(lambda path, _: text(path.encode()), "/a", "/a/b:c"))
    assert served.get("/a").body == b"/a"
    assert served.get("/a/b%3Ac").body == served.get("/a/b:c").body == b"/a/b:c"


def boom(_path, _snapshot):
    raise ValueError("boom")


def test_a_view_that_raises_at_once_is_a_500_and_reported_once_with_its_traceback(caplog):
    hub = Hub()
    served, told = opened(view_of(boom), hub=hub)
    answers = [served.get("/example") for _ in range(3)]
    hub.version = 2
    answers.append(served.get("/example"))
    assert {answer.status for answer in answers} == {500}
    assert {answer.content_type for answer in answers} == {"application/problem+json"}
    assert b'"reason":"view_failed"' in answers[0].body
    assert b"boom" not in answers[0].body
    assert told.said == [
        ("example", "/example", "The view raised ValueError for /example; an error is served.")
    ]
    assert len(caplog.records) == 1
    assert "ValueError: boom" in caplog.text


def test_a_view_that_fails_later_keeps_its_last_document_and_tells_when_it_works_again(caplog):
    caplog.set_level(logging.INFO)
    hub = Hub()
    served, told = opened(
        view_of(lambda _, found: boom("", found) if found.version in {2, 3} else text(b"%d" % found.version)),
        hub=hub,
    )
    bodies = []
    for hub.version in (1, 2, 3, 4):
        bodies.append(served.get("/example").body)  # the loop's variable is the hub's
    assert bodies == [b"1", b"1", b"1", b"4"]
    assert told.said == [
        ("example", "/example", "The view raised ValueError for /example; its last document is served."),
        ("example", "/example", None),
    ]
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


@pytest.mark.parametrize(
    "error",
    [
        SystemExit("enough"),
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseExceptionGroup("", [SystemExit(1), ValueError()]),
    ],
)
def test_a_view_that_raises_what_ends_processes_is_only_a_failing_view(error):
    def render(*_):
        raise error

    served, told = opened(view_of(render))
    assert served.get("/example").status == 500
    assert len(told.said) == 1


def test_no_methods_of_a_subclass_are_sent():
    class Odd(int):
        __le__ = __ge__ = lambda *_: True

    class Cut(bytes):
        def __len__(self):
            return 1

    document = Document(body=Cut(b"whole"), status=Odd(99999))
    served, told = opened(view_of(lambda *_: document))
    assert served.get("/example").status == 500
    assert len(told.said) == 1
    document = Document(body=Cut(b"whole"), status=Odd(201))
    served, _ = opened(view_of(lambda *_: document))
    found = served.get("/example")
    assert (type(found.body), found.body, type(found.status)) == (bytes, b"whole", int)


def test_a_failure_of_another_kind_is_told_again():
    hub = Hub()

    def render(path, found):
        if found.version == 2:
            raise KeyError("x")
        boom(path, found)

    served, told = opened(view_of(render), hub=hub)
    for hub.version in (1, 2, 2, 3):
        served.get("/example")
    assert [message.split()[3] for _, _, message in told.said] == ["ValueError", "KeyError", "ValueError"]


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        b"bytes",
        Document(body="text"),
        Document(body=bytearray(b"x")),
        Document(body=b"x" * (MAX_PAYLOAD + 1)),
        Document(body=b"", status=True),
        Document(body=b"", status="200"),
        Document(body=b"", status=199),
        Document(body=b"", status=600),
        Document(body=b"", status=204),
        Document(body=b"", status=304),
        Document(body=b"", content_type=""),
        Document(body=b"", content_type="json"),
        Document(body=b"", content_type="text/plain\r\nX: y"),
        Document(body=b"", content_type="text/plain\n"),
        Document(body=b"", content_type=None),
        Document(body=b"", content_type="text/plain; charset=ü"),
    ],
)
def test_what_cannot_be_sent_is_a_failure_of_the_view(nonsense):
    served, told = opened(view_of(lambda *_: nonsense))
    assert served.get("/example").status == 500
    assert len(told.said) == 1


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain; version=0.0.4; charset=utf-8", "a/b ; c=d"]
)
def test_media_types_with_parameters_can_be_sent(content_type):
    document = Document(body=b"", content_type=content_type)
    assert opened(view_of(lambda *_: document))[0].get("/example") == document


@pytest.mark.parametrize(
    "path",
    ["example", "", "/a//b", "/a/", "/./a", "/a/..", "/a b", "/ä", "/a?b", "/a#b", "/%zz", "/a\n", 7, None],
)
def test_a_view_with_an_impossible_path_is_left_out_and_the_others_served(path, caplog):
    good = view_of(lambda *_: text(b"good"), "/good", name="good")
    served, told = opened(view_of(boom, path, name="bad"), good)
    assert served.get("/good").body == b"good"
    assert told.said == [("bad", "", "The view is left out: InvalidPathError from its paths().")]
    assert 'The view "bad" is left out' in caplog.text


def test_a_view_that_cannot_say_its_paths_is_left_out(caplog):
    class Broken(View):
        name = "broken"

        def paths(self):
            raise RuntimeError("no")

    served, told = opened(Broken(context=CONTEXT))
    assert served.get("/health").status == 200
    assert told.said == [("broken", "", "The view is left out: RuntimeError from its paths().")]


@pytest.mark.parametrize("path", ["/.well-known/x", "/..a", "/a/.b", "/a%2Fb"])
def test_unusual_and_valid_paths_are_served(path):
    assert opened(view_of(lambda *_: text(b"x"), path))[0].get(path).body == b"x"


def test_two_views_with_one_path_stop_the_start_and_both_are_named():
    views = view_of(boom, "/a:b", name="one"), view_of(boom, "/a%3ab", name="two")
    with pytest.raises(StartError) as caught:
        opened(*views)
    assert 'the view "one" (' in str(caught.value)
    assert 'the view "two" (' in str(caught.value)
    assert "both claim the path /a%3ab" in str(caught.value)
    assert "[plugins] disabled" in str(caught.value)


@pytest.mark.parametrize("path", ["/health", "/healthz", "/state", "/state/models", "/%73tate"])
def test_a_view_cannot_take_a_path_of_statusd(path):
    with pytest.raises(StartError, match='statusd itself and the view "thief"'):
        opened(view_of(boom, path, name="thief"))


def test_one_view_may_say_a_path_twice():
    assert opened(view_of(lambda *_: text(b"x"), "/a", "/a"))[0].get("/a").body == b"x"


def test_status_words_are_what_the_tree_says():
    root = Node(status=Status.OFF, reason="no_sources")
    assert b'"status":"off"' in opened(hub=Hub(root=root))[0].get("/state").body
