"""Trees as the daemon builds them: sources with random histories, models, rules, and statements."""

import attrs
from hypothesis import strategies as st

from statusd import Report, SourceInfo, Status
from statusd.model.assembly import Assembly, Origin, State
from statusd.model.judging import Thresholds
from statusd.model.merge import Reading
from statusd.model.rollup import Rule
from statusd.model.snapshot import Snapshot
from statusd.model.tree import settle

START = 1_800_000_000.0
"""The first probe of every source finishes now, in seconds since 1970: 2027-01-15, 08:00:00 UTC."""
LIFETIME = 8.0
PENDING = Report.unknown("pending", "The first probe has not finished yet.")
UNCONFIGURED = Report.off(message="No address is configured.")
STATEMENTS = {
    "daemon/loop": Report.ok(message="The event loop runs freely."),
    "plugins/mock": Report.off("plugin_disabled", "Installed and not enabled."),
    "plugins/odd": Report.unknown("plugin_failed", "It raised\x1b[31m\nOSError."),
}


@attrs.define
class World:
    """Sources, what they say one after another, and the tree that comes of it."""

    origins: tuple[Origin, ...]
    models: dict[str, list[str]] = attrs.field(factory=dict)
    rules: dict[str, Rule] = attrs.field(factory=dict)
    unconfigured: frozenset[str] = frozenset()
    assembly: Assembly = attrs.field(init=False)
    root: object = attrs.field(init=False)

    def __attrs_post_init__(self):
        states = [
            State.first(one, (UNCONFIGURED if one.name in self.unconfigured else PENDING,))
            for one in self.origins
        ]
        self.assembly = Assembly(states, self.models, self.rules)
        self.root = self.assembly.tree(STATEMENTS)

    def probe(self, name, *reports, at=START):
        reading = Reading(reports=reports, observed_at=at, expires_at=at + LIFETIME)
        self.root = self.assembly.put(self.root, self.assembly.state(name).after(reading))
        return self

    def fall_silent(self, name):
        self.root = self.assembly.put(self.root, self.assembly.state(name).expired())
        return self

    def snapshot(self, at=START):
        root = settle(None, self.root, revision=7, now=at).root
        return Snapshot(root=root, revision=7, version=1, at=at)

    def infos(self):
        return {
            one.name: SourceInfo(
                name=one.name,
                plugin=one.plugin,
                backend=one.backend,
                required=one.required,
                rise=one.thresholds.rise,
                fall=one.thresholds.fall,
                depends_on=one.depends_on,
            )
            for one in self.origins
        }


def origin(name, *, rise=1, fall=1, **rest):
    return Origin(name=name, plugin="mock", backend=name, thresholds=Thresholds(rise, fall), **rest)


NAMES = ("a", "b", "c", "d")
MODELS = ("x/1", "y", "z")
messages = st.sampled_from(["", "It is so.", "no end", "two\nlines\x00\u202e", "語?"])
reasons = st.sampled_from(["ok", "refused", "timeout", "stale", "loading"])


def reports(**rest):
    return st.builds(Report, status=st.sampled_from(Status), reason=reasons, message=messages, **rest)


@st.composite
def probes(draw, models):
    """What a probe returns: about the source or not, some of its models, and some parts at two depths."""
    about = [draw(reports())] if draw(st.booleans()) else []
    about += [draw(reports(model=st.just(one))) for one in models if draw(st.booleans())]
    paths = draw(st.sets(st.sampled_from(["p", "q", "r/1", "r/2", "r/s/%2F"])))
    about += [draw(reports(path=st.just(path))) for path in sorted(paths)]
    return about or [draw(reports())]


@st.composite
def worlds(draw):
    """A tree after a random history."""
    models = {
        model: draw(st.permutations(NAMES))[: draw(st.integers(1, 3))]
        for model in MODELS[: draw(st.integers(0, 3))]
    }
    origins = tuple(
        origin(
            name,
            rise=draw(st.integers(1, 3)),
            fall=draw(st.integers(1, 3)),
            required=draw(st.booleans()),
            depends_on=tuple(draw(st.sets(st.sampled_from(NAMES[:place])))) if place else (),
            models=tuple(model for model, names in models.items() if name in names),
        )
        for place, name in enumerate(NAMES)
    )
    rules = st.sampled_from([Rule(0), Rule(1), Rule(2), Rule(3)])
    places = st.sampled_from(["", "sources", "models", "models/y", "sources/a/r", "plugins", "daemon"])
    unconfigured = frozenset(draw(st.sets(st.sampled_from(NAMES), max_size=1)))
    world = World(origins, models, draw(st.dictionaries(places, rules, max_size=3)), unconfigured)
    probed = [one for one in origins if one.name not in unconfigured]
    for step in range(draw(st.integers(0, 8))):
        one = draw(st.sampled_from(probed))
        if draw(st.integers(0, 4)):
            world.probe(one.name, *draw(probes(one.models)), at=START + step)
        else:
            world.fall_silent(one.name)
    return world
