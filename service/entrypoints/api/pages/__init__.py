"""The pages, and the signals that tell them what changed."""

from service.entrypoints.api.pages.app import add_pages

__all__ = ["add_pages"]
