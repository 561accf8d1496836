"""A journal socket for tests: receives entries and takes them apart as journald does."""

import array
import fcntl
import os
import socket

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def parsed(payload):
    """Return the fields of one entry, as the native protocol has them: a list of name and value."""
    fields = []
    while payload:
        line, _, rest = payload.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert len(value) == length
            assert rest.startswith(b"\n")
            rest = rest[1:]
        fields.append((name.decode("ascii"), value))
        payload = rest
    return fields


class FakeJournal:
    """A journal that reads only when it is asked to; its queue is the kernel's."""

    def __init__(self, path):
        self.path = path
        self.files = 0
        self.open()

    def open(self):
        """Listen, at first or again."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(10)

    def close(self):
        """Be gone, with the socket's name."""
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def crash(self):
        """Be gone, and leave the socket's name behind."""
        self._socket.close()

    def raw(self):
        """Return the next entry's bytes, out of the sealed file where it came in one."""
        payload, ancillary, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if not ancillary:
            return payload
        [(_, _, data)] = ancillary
        [descriptor] = array.array("i", data)
        assert payload == b""
        self.files += 1
        with os.fdopen(descriptor, "rb") as file:
            assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS == SEALS
            file.seek(0)
            return file.read()

    def entry(self):
        """Return the next entry's fields, as text; none may come twice."""
        fields = parsed(self.raw())
        entry = {name: value.decode() for name, value in fields}
        assert len(entry) == len(fields)
        return entry
