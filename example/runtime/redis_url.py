"""What REDIS_URL may be: redis://, rediss:// or unix://, also by way of sentinels or a cluster."""

import re
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

ACCEPTS = (
    "redis://[[user]:password@]host[:port][/db], rediss://…, unix:///path,"
    " redis+sentinel://…host[:port],…/service[/db] or redis+cluster://…host[:port],…"
    "; in a user or password each of @ : / ? # % is written %40 %3A %2F %3F %23 %25"
)
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
OPTIONS = (
    *("db", "username", "password", "client_name", "protocol"),
    *("socket_keepalive", "health_check_interval", *SENTINEL_OPTIONS),
)
"""Those that redis-py has for ssl come on top. Others would change what replies look like, or
have time-outs of their own."""
_YES_OR_NO = ("socket_keepalive", "ssl_check_hostname")


class UrlError(ValueError):
    """A part of the URL is wrong; the message names it, and shows no secret."""


def redacted(url: str) -> str:
    """`url` without user, password and query, fit for a log."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def check(text: str) -> str:
    """Return `text` if it may be REDIS_URL.

    Raises UrlError for a user name that no server allows, and for an option that is not there or
    has a wrong value; files that it names are read. Raises ValueError for anything else that is
    wrong.
    """
    url = urlsplit(text)
    scheme, _, kind = url.scheme.partition("+")
    if url.scheme == "unix":
        right = bool(url.path)
    elif scheme in ("redis", "rediss") and kind in ("", "sentinel", "cluster"):
        service, _, database = url.path.removeprefix("/").rpartition("/")
        if kind == "sentinel" and not service:
            service, database = database, ""
        hosts = url.netloc.rpartition("@")[2].split(",")
        right = all(_is_host(host) for host in hosts) and (not database or database.isdecimal())
        right = right and bool(service) == (kind == "sentinel") and bool(kind or len(hosts) == 1)
    else:
        right = False
    # A fragment is a password with a bare # in it.
    if not right or url.fragment:
        raise ValueError
    options = parse_qsl(url.query, keep_blank_values=True)
    for user in (unquote(url.username or ""), dict(options).get("username", "")):
        if re.search(r"[\s\0]", user):
            raise UrlError("its user name holds a blank, which no server allows")
    if options:
        _check_options(scheme, kind, options)
    return text


def _is_host(text: str) -> bool:
    url = urlsplit(f"//{text}")
    return bool(url.hostname) and url.port != 0


def _check_options(scheme: str, kind: str, options: list[tuple[str, str]]) -> None:
    for name, value in options:
        if name not in OPTIONS and not (scheme == "rediss" and name.startswith("ssl_")):
            hint = "; for rediss:// only" if name.startswith("ssl_") else ""
            if any("@" in each for option in options for each in option):
                # They may be the rest of a password: no name is shown.
                raise UrlError("there is no such option: in a password ? is written %3F")
            raise UrlError(f"there is no option {name!r}{hint}: use {', '.join(OPTIONS)}")
        if name in SENTINEL_OPTIONS and kind != "sentinel":
            raise UrlError(f"the option {name} is for redis+sentinel:// only")
        if not value:
            raise UrlError(f"the option {name} has no value")
        if name in _YES_OR_NO and value.lower() not in ("true", "false"):
            raise UrlError(f"the option {name} is not true or false")
    plain = [each for each in options if each[0] not in SENTINEL_OPTIONS]
    if not (why := _refused(scheme, plain)):
        return
    for each in plain:
        if alone := _refused(scheme, [each]):
            raise UrlError(f"the option {each[0]} is wrong: {alone}")
    raise UrlError(f"its options do not go together: {why}")


def _refused(scheme: str, options: list[tuple[str, str]]) -> str:
    """Why redis-py does not take these; "" if it does."""
    # Only here: it is most of what a program that waits would have in memory.
    import ssl

    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import SSLConnection
    from redis.exceptions import RedisError

    try:
        url = f"{scheme}://localhost/?{urlencode(options)}"
        connection = ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()
    except ssl.SSLError as error:
        return f"no such certificate or key can be read ({error.reason or 'SSL error'})"
    except OSError as error:
        return error.strerror or type(error).__name__
    except (TypeError, ValueError, RedisError) as error:
        return str(error)
    return ""
