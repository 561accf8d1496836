"""The configuration: reading, checking, resolving."""
