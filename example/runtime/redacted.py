"""URLs as they may stand in a log."""

from urllib.parse import urlsplit, urlunsplit


def redacted(url: str) -> str:
    """`url` without user, password and query, fit for a log."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
