"""A way to a PostgreSQL server on which the reply to one COMMIT gets lost."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

NAME = ".s.PGSQL.5432"
COMMIT = b"COMMIT\0"


class Proxy:
    """Passes on what it gets, but for the reply to the N-th COMMIT: there it hangs up.

    The server has committed by then.
    """

    def __init__(self, folder: Path, server: str, number: int) -> None:
        folder.mkdir()
        self.folder = folder
        self._server = f"{server}/{NAME}"
        self._number = number
        self._lock = threading.Lock()
        #: Commits so far.
        self.count = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / NAME))
        self._listener.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Closing alone does not wake who waits for the next one.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def has_cut(self) -> bool:
        return self.count >= self._number

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        cuts = threading.Event()
        back = threading.Thread(target=self._back, args=(server, client, cuts))
        back.daemon = True
        back.start()
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                # In a message of its own: what comes back is the reply to it.
                if COMMIT in data and self._is_the_one():
                    cuts.set()
                server.sendall(data)
        _hang_up(server)

    def _is_the_one(self) -> bool:
        with self._lock:
            self.count += 1
            return self.count == self._number

    def _back(
        self, server: socket.socket, client: socket.socket, cuts: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if cuts.is_set() and COMMIT in data:
                    break
                client.sendall(data)
        _hang_up(client)
        _hang_up(server)


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
