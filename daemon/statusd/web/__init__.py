"""Serving the tree: listener, documents, application."""
