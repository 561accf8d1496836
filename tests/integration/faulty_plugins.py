"""Plugins that do everything wrong; one class a fault, each its own entry point in the tests."""

import threading
import time

import attrs
import trio

from statusd import Payload, Report, Source, View, hookimpl, option

RELEASE = threading.Event()
"""Lets the blocked threads go when the tests end."""


def cycle():
    value = []
    value.append(value)
    return value


@attrs.frozen(kw_only=True)
class RaisesInConstructor(Source):
    def __attrs_post_init__(self):
        raise RuntimeError("constructor")

    async def probe(self):
        return Report.ok()


@attrs.frozen(kw_only=True)
class ExitsInConstructor(Source):
    def __attrs_post_init__(self):
        raise SystemExit(3)

    async def probe(self):
        return Report.ok()


@attrs.frozen(kw_only=True)
class ExitsInValidator(Source):
    key: str = option("", help="A key.")

    @key.validator
    def _exit(self, _attribute, _value):
        raise SystemExit(3)

    async def probe(self):
        return Report.ok()


@attrs.frozen(kw_only=True)
class RaisesInProbe(Source):
    async def probe(self):
        raise RuntimeError("probe")


@attrs.frozen(kw_only=True)
class ExitsInProbe(Source):
    async def probe(self):
        raise SystemExit(3)


@attrs.frozen(kw_only=True)
class AwaitsForEver(Source):
    async def probe(self):
        await trio.sleep_forever()


@attrs.frozen(kw_only=True)
class BlocksForEver(Source):
    def probe(self):
        RELEASE.wait(60)
        return Report.ok()


@attrs.frozen(kw_only=True)
class ReturnsNothing(Source):
    async def probe(self):
        return None


@attrs.frozen(kw_only=True)
class ReturnsCycle(Source):
    async def probe(self):
        return Report.ok(facts={"x": cycle()})


@attrs.frozen(kw_only=True)
class ReturnsHuge(Source):
    async def probe(self):
        return Report.ok(facts={"x": "y" * 100_000_000})


@attrs.frozen(kw_only=True)
class ReturnsHugePayload(Source):
    async def probe(self):
        return Report.ok(payload=Payload(bytes(100_000_000)))


@attrs.frozen(kw_only=True)
class ReturnsNaN(Source):
    async def probe(self):
        return Report.ok(facts={"x": float("nan")})


@attrs.frozen(kw_only=True)
class ReportsOthers(Source):
    async def probe(self):
        return Report.ok(path="../../models/m")


@attrs.frozen(kw_only=True)
class BlocksTheLoop(Source):
    async def probe(self):
        time.sleep(0.4)  # noqa: ASYNC251  # the fault under test
        return Report.ok()


SOURCES = {
    "raises_in_constructor": (RaisesInConstructor, {"plugin_failed"}),
    "exits_in_constructor": (ExitsInConstructor, {"plugin_failed"}),
    "exits_in_validator": (ExitsInValidator, {"plugin_failed"}),
    "raises_in_probe": (RaisesInProbe, {"plugin_failed"}),
    "exits_in_probe": (ExitsInProbe, {"plugin_failed"}),
    "awaits_for_ever": (AwaitsForEver, {"timeout"}),
    "blocks_for_ever": (BlocksForEver, {"timeout", "plugin_blocked"}),
    "returns_nothing": (ReturnsNothing, {"bad_report"}),
    "returns_cycle": (ReturnsCycle, {"bad_report"}),
    "returns_huge": (ReturnsHuge, {"report_too_large"}),
    "returns_huge_payload": (ReturnsHugePayload, {"report_too_large"}),
    "returns_nan": (ReturnsNaN, {"bad_report"}),
    "reports_others": (ReportsOthers, {"bad_report"}),
}
"""Entry-point name -> (source type, the reasons its node may show)."""


@attrs.frozen(kw_only=True)
class BrokenView(View):
    name = "broken"

    def paths(self):
        return ("/broken",)

    def render(self, path, snapshot):
        raise RuntimeError(f"{path} {snapshot.revision}")


def registering(source_type=None, view_type=None, sink_type=None):
    """Return the namespace of a plugin module that registers one type."""

    def statusd_register_sources(registry):
        registry.add(source_type)

    def statusd_register_views(registry):
        registry.add(view_type)

    def statusd_register_sinks(registry):
        registry.add(sink_type)

    if source_type:
        hook = statusd_register_sources
    else:
        hook = statusd_register_views if view_type else statusd_register_sinks
    return {hook.__name__: hookimpl(hook)}


def raising_at_registration():
    def statusd_register_sources(registry):
        raise RuntimeError(f"registration with {registry}")

    return {"statusd_register_sources": hookimpl(statusd_register_sources)}
