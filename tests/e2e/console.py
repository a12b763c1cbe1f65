"""Consoles of guests, as a browser uses them: a WebSocket, and over it a terminal or the RFB protocol (RFC 6143)."""

import struct
import time
import urllib.parse

from websockets.sync.client import connect

DEADLINE_S = 60
KEPT_BYTES = 10_000


def open_socket(page, origin=None):
    """The WebSocket of a page. It stays open after this call, until it is closed."""
    return connect(socket_url(page), subprotocols=["binary"], origin=origin).__enter__()


def url(cloud, server, protocol, kind, **kwargs):
    """The URL of a console."""
    body = {"remote_console": {"protocol": protocol, "type": kind}}
    answer = cloud.post(f"/compute/v2.1/servers/{server}/remote-consoles", body, version="2.8", **kwargs)
    assert answer["remote_console"].keys() == {"protocol", "type", "url"}
    return answer["remote_console"]["url"]


def socket_url(page):
    """The URL of the WebSocket that a page connects to: the page's query has its path."""
    parts = urllib.parse.urlparse(page)
    if parts.scheme == "ws":
        return page
    path = urllib.parse.parse_qs(parts.query)["path"][0]
    return f"ws://{parts.netloc}/{path}"


class Serial:
    """A terminal on a serial line."""

    def __init__(self, page, origin=None):
        self.socket = open_socket(page, origin)
        self.shown = b""

    def type(self, text):
        self.socket.send(text.encode())

    def until(self, text):
        """Reads until the line shows this text; drops what came before."""
        until = time.monotonic() + DEADLINE_S
        while text.encode() not in self.shown:
            assert time.monotonic() < until, f"no {text!r} in {self.shown[-500:]!r}"
            self.shown = self.shown[-KEPT_BYTES:] + self.socket.recv(timeout=DEADLINE_S)
        self.shown = self.shown.split(text.encode(), 1)[1]

    def answer(self, text, want):
        """Types every few seconds until the answer comes: who listens may not be there yet."""
        until, again = time.monotonic() + DEADLINE_S, 0
        while want.encode() not in self.shown:
            assert time.monotonic() < until, f"no {want!r} in {self.shown[-500:]!r}"
            if time.monotonic() > again:
                self.type(text)
                again = time.monotonic() + 3
            try:
                self.shown += self.socket.recv(timeout=1)
            except TimeoutError:
                pass
        self.until(want)

    def close(self):
        self.socket.close()


class Screen:
    """A screen with its keyboard."""

    KEYS = {"\n": 0xFF0D}
    SHIFT = 0xFFE1

    def __init__(self, page):
        self.socket = open_socket(page)
        self.bytes = b""
        version = self.read(12)
        assert version == b"RFB 003.008\n"
        self.socket.send(version)
        kinds = self.read(self.read(1)[0])
        assert 1 in kinds, "no security type None"
        self.socket.send(b"\x01")
        assert self.read(4) == b"\0\0\0\0"
        self.socket.send(b"\x01")
        self.width, self.height = struct.unpack(">HH", self.read(4))
        self.read(16)
        self.name = self.read(struct.unpack(">I", self.read(4))[0]).decode()

    def read(self, count):
        while len(self.bytes) < count:
            self.bytes += self.socket.recv(timeout=DEADLINE_S)
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def press(self, key, down):
        self.socket.send(struct.pack(">BBxxI", 4, down, key))

    def type(self, text):
        for character in text:
            key = self.KEYS.get(character, ord(character))
            shifted = character in '~!@#$%^&*()_+{}|:"<>?' or character.isupper()
            for one, down in [(self.SHIFT, 1)] * shifted + [(key, 1), (key, 0)] + [(self.SHIFT, 0)] * shifted:
                self.press(one, down)

    def picture(self):
        """The screen's pixels, four bytes each."""
        # Raw encoding, and the whole screen.
        self.socket.send(struct.pack(">BxHi", 2, 1, 0))
        self.socket.send(struct.pack(">BBHHHH", 3, 0, 0, 0, self.width, self.height))
        while True:
            kind = self.read(1)[0]
            assert kind == 0, f"message {kind}"
            (count,) = struct.unpack(">xH", self.read(3))
            pixels = b""
            for _ in range(count):
                _x, _y, width, height, encoding = struct.unpack(">HHHHi", self.read(12))
                assert encoding == 0
                pixels += self.read(width * height * 4)
            if len(pixels) >= self.width * self.height * 4:
                return pixels

    def close(self):
        self.socket.close()
