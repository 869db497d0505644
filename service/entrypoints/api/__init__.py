"""The status API and the page."""

from service.entrypoints.api.app import build_app
from service.entrypoints.api.serve import serve

__all__ = ["build_app", "serve"]
