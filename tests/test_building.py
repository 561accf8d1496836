"""What is not as a configuration says, out of its faults and of what could not be built."""

from __future__ import annotations

from types import SimpleNamespace

from statusd import Report
from statusd.building import faults_of


def told(faults, sources):
    """Return the paths of the faults, where each of `sources` could not be built."""
    plan = SimpleNamespace(configuration=SimpleNamespace(faults=[(path, "It is bad.") for path in faults]))
    first = (Report.unknown("plugin_failed", "It is not there."),)
    built = [SimpleNamespace(config=SimpleNamespace(name=name), prober=None, first=first) for name in sources]
    return [one.path for one in faults_of(plan, SimpleNamespace(sources=built))]


def test_a_source_is_told_once_whether_by_a_fault_of_its_own_or_of_one_of_its_keys():
    faults = ["sources.a", "sources.b.password", "plugins.enabled[0]"]
    assert told(faults, ["a", "b", "c", "ab", "bb"]) == [
        *faults,
        "sources.c",
        "sources.ab",
        "sources.bb",
    ]


def test_thousands_of_sources_whose_plugin_is_missing_are_looked_at_once_each():
    # Each compared with all others would hold up everybody for minutes.
    names = [f"s{number}" for number in range(60_000)]
    faults = [f"sources.{name}" for name in names]
    assert told(faults, names) == faults
