"""The page for people at ``/``."""

from statusd.web.page.rendering import HEADERS, render_page

__all__ = ["HEADERS", "render_page"]
