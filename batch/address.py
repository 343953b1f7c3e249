"""Where a database is: a file of this machine, or a PostgreSQL server.

A server's password is for the driver alone: what is shown, logged or written down is
the name, which has none.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

#: The names under which a PostgreSQL server is asked for.
SCHEMES = ("postgresql+psycopg", "postgresql", "postgres")
DEFAULT_PORT = 5432

#: Also what lacks a slash: as a path it would be shown, with its password.
_URL = re.compile(r"\s*(?:[A-Za-z][\w+.-]*://|postgres(?:ql)?(?:\+\w*)?:)", re.I)
#: What a port is; more digits than any has are refused too.
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Server:
    """A database of a PostgreSQL server."""

    #: With the password, if one was given.
    url: str = field(repr=False)
    #: The same without it, and without parameters.
    name: str
    #: What it is, whoever logs in: one name for one database.
    identity: str
    #: The name that this machine's own files for it begin with.
    beside: Path
    #: What must not be seen of the URL.
    secrets: tuple[str, ...] = field(default=(), repr=False)
    #: True if a pooler stands between that gives each transaction another connection.
    is_pooled: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def has_password(self) -> bool:
        """Whether the URL itself holds a password."""
        return bool(self.secrets)


#: Where a database is.
Address = Path | Server


def is_url(text: str) -> bool:
    """Whether this is meant for a URL, not for a path."""
    return _URL.match(text) is not None


def server(text: str, folder: Path) -> Server:
    """The server that a URL names; `folder`: where this machine keeps files for it.

    ValueError, which repeats nothing of the URL but its scheme, where it names none.
    """
    text = text.strip()
    scheme, _, rest = text.partition(":")
    if scheme.lower() not in SCHEMES:
        raise ValueError(
            f"{scheme}:// is not spoken: say a file, or postgresql+psycopg://"
            "USER@HOST/DATABASE"
        )
    try:
        return _server(rest, folder)
    except UnicodeError:
        reason = "is not a URL: percent-encode what is not UTF-8"
    except ValueError as error:
        reason = str(error)
    # With no trace of the error, which may hold the URL.
    raise ValueError(f"{scheme.lower()}://… {reason}")


def _server(rest: str, folder: Path) -> Server:
    if not rest.startswith("//") or "#" in rest:
        raise ValueError(
            "is not a URL: say //USER@HOST/DATABASE, and percent-encode a password's "
            "/ ? # @"
        )
    netloc, path, parameters = _parts(rest)
    # Parsed here once: the driver's parser takes an @ in a password for the host's,
    # and tells the host in its messages.
    login, _, where = netloc.rpartition("@")
    user, _, password = (unquote(one) for one in login.partition(":"))
    host, port = _host_and_port(where)
    # What stands among the parameters wins, as with the driver.
    user = parameters.pop("user", user)
    password = parameters.pop("password", password)
    host = parameters.pop("host", host)
    host = host.rstrip("/") or host
    port = parameters.pop("port", port)
    database = parameters.pop("dbname", path) or user
    is_pooled = _is_pooled(parameters)
    if "@" in path:
        raise ValueError("is not a URL: percent-encode a password's / ? # @")
    if port and (not _PORT.fullmatch(port) or not 0 < int(port) < 65536):
        raise ValueError("is not a URL: check host and port")
    if not database or "/" in database:
        raise ValueError("names no database: say …HOST/DATABASE")
    if "\0" in f"{user}{password}{host}{database}{parameters}":
        raise ValueError("is not a URL: it holds a NUL")
    number = int(port) if port else DEFAULT_PORT
    # A socket's folder has no place before the first slash.
    is_socket = host.startswith("/")
    shown = f"[{host}]" if ":" in host else host
    place = "" if is_socket else shown
    place += f":{number}" if number != DEFAULT_PORT else ""
    whose, its = quote(user, safe=""), quote(database, safe="")
    query = {"host": host} if is_socket else {}
    secret = f":{quote(password, safe='')}" if password else ""
    given = urlencode({**query, **parameters}, safe="/", quote_via=quote)
    identity = f"postgresql://{shown.lower() or 'localhost'}:{number}/{database}"
    if is_socket:
        identity = f"postgresql://{host}:{number}/{database}"
    hidden = (password, parameters.get("sslpassword", ""))
    return Server(
        url=f"postgresql+psycopg://{whose}{secret}{'@' if whose else ''}{place}/{its}"
        + (f"?{given}" if given else ""),
        name=f"postgresql+psycopg://{whose}{'@' if whose else ''}{place}/{its}"
        + (f"?host={quote(host)}" if is_socket else ""),
        identity=identity,
        beside=folder / _file_name(identity),
        secrets=tuple(one for one in hidden if one),
        is_pooled=is_pooled,
    )


def _is_pooled(parameters: dict[str, str]) -> bool:
    """Remove what other clients write and libpq refuses.

    Return True if either parameter tells of a pooler.
    """
    pooler = parameters.pop("pgbouncer", "0").lower()
    threshold = parameters.pop("prepare_threshold", "").lower()
    if pooler not in ("0", "1", "false", "true"):
        raise ValueError("has a wrong parameter: pgbouncer can be 0 or 1")
    if threshold not in ("", "none"):
        raise ValueError("has a wrong parameter: prepare_threshold can only be none")
    return pooler in ("1", "true") or threshold == "none"


def _parts(rest: str) -> tuple[str, str, dict[str, str]]:
    """(Login and host, database, parameters)."""
    try:
        parts = urlsplit(f"postgresql:{rest}")
        parameters = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError("is not a URL: check host, port and parameters") from None
    return parts.netloc, unquote(parts.path.strip("/")), parameters


def _host_and_port(where: str) -> tuple[str, str]:
    found = re.fullmatch(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::(.*))?", where)
    if found is None:
        raise ValueError("is not a URL: check host and port")
    return found[1] or unquote(found[2] or ""), found[3] or ""


def beside(address: Address) -> Path:
    """The name that this machine's own files for a database begin with."""
    return address.beside if isinstance(address, Server) else address


def _file_name(identity: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", identity.partition("://")[2]).strip("-")
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"postgresql-{plain[:60]}-{digest}"
