"""For authors of plugins: fakes, simulators of the upstreams, and conformance checks."""
