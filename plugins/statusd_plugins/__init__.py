"""The built-in plugins, each through the public API and entry points only."""
