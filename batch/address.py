"""Where a database is: a file of this machine, or a PostgreSQL server.

A server's password is for the driver alone: what is shown, logged or written down is
the name, which has none.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

#: The names under which a PostgreSQL server is asked for.
SCHEMES = ("postgresql+psycopg", "postgresql", "postgres")
DEFAULT_PORT = 5432


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

    def __str__(self) -> str:
        return self.name

    @property
    def has_password(self) -> bool:
        """Whether the URL itself holds a password."""
        parts = urlsplit(self.url)
        return bool(parts.password) or "password" in parse_qs(parts.query)


#: Where a database is.
Address = Path | Server


def is_url(text: str) -> bool:
    """Whether this is meant for a URL, not for a path."""
    return re.match(r"[A-Za-z][\w+.-]*://", text) is not None


def server(text: str, folder: Path) -> Server:
    """The server that a URL names; `folder`: where this machine keeps files for it.

    ValueError, which repeats nothing of the URL but its scheme, where it names none.
    """
    scheme = text.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise ValueError(
            f"{scheme}:// is not spoken: say a file, or postgresql+psycopg://"
            "USER@HOST/DATABASE"
        )
    try:
        parts = urlsplit(text)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        port = parts.port
        number = port or int(query.get("port") or DEFAULT_PORT)
    except ValueError:
        raise ValueError(f"{scheme}://… is not a URL: check host and port") from None
    host = (parts.hostname or query.get("host") or "").rstrip("/")
    database = parts.path.strip("/") or query.get("dbname") or parts.username or ""
    if not database or "/" in database:
        raise ValueError(f"{scheme}://… names no database: say …HOST/DATABASE")
    whose = f"{parts.username}@" if parts.username else ""
    # A socket's folder has no place before the first slash.
    where = "" if host.startswith("/") else f"{host}{f':{port}' if port else ''}"
    folder_of_socket = f"?host={host}" if host.startswith("/") else ""
    identity = f"postgresql://{host or 'localhost'}:{number}/{database}"
    return Server(
        url=f"postgresql+psycopg{text[len(scheme) :]}",
        name=f"postgresql+psycopg://{whose}{where}/{database}{folder_of_socket}",
        identity=identity,
        beside=folder / _file_name(identity),
    )


def beside(address: Address) -> Path:
    """The name that this machine's own files for a database begin with."""
    return address.beside if isinstance(address, Server) else address


def _file_name(identity: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", identity.partition("://")[2]).strip("-")
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"postgresql-{plain[:60]}-{digest}"
