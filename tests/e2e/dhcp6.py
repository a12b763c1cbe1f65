"""A DHCPv6 client of few words (RFC 8415): asks once on a device, and prints what it was told as JSON.

    dhcp6.py DEVICE MAC information|address
"""

import ipaddress
import json
import socket
import struct
import sys

SOLICIT, ADVERTISE, REQUEST, REPLY, INFORMATION = 1, 2, 3, 7, 11
CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, WANTED, RESOLVERS = 1, 2, 3, 5, 6, 23
EVERYBODY = ipaddress.IPv6Address("ff02::1:2")
IPV6, UDP = 0x86DD, 17


def option(code, content):
    return struct.pack("!HH", code, len(content)) + content


def options(data):
    """Each option's code and content."""
    while len(data) >= 4:
        code, length = struct.unpack("!HH", data[:4])
        yield code, data[4:4 + length]
        data = data[4 + length:]


def link_local(mac):
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:])


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(mac, message):
    """The message from the link's client to its servers."""
    source = link_local(mac).packed
    length = 8 + len(message)
    head = struct.pack("!HHH", 546, 547, length)
    pseudo = source + EVERYBODY.packed + struct.pack("!IxxxB", length, UDP)
    udp = head + struct.pack("!H", checksum(pseudo + head + b"\0\0" + message) or 0xFFFF) + message
    ip = struct.pack("!IHBB", 6 << 28, length, UDP, 255) + source + EVERYBODY.packed
    return bytes.fromhex("333300010002") + mac + struct.pack("!H", IPV6) + ip + udp


class Client:
    def __init__(self, device, mac):
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(IPV6))
        self.socket.bind((device, 0))
        self.socket.settimeout(2)

    def ask(self, kind, *more):
        """Kind and options of the answer; None if nobody answers."""
        who = option(CLIENT_ID, struct.pack("!HH", 3, 1) + self.mac)
        wants = option(WANTED, struct.pack("!H", RESOLVERS))
        self.socket.send(frame(self.mac, bytes([kind]) + b"len" + who + wants + b"".join(more)))
        try:
            while True:
                got = self.socket.recv(2048)
                if got[:6] == self.mac and got[20] == UDP and got[54:58] == struct.pack("!HH", 547, 546) and got[63:66] == b"len":
                    return got[62], dict(options(got[66:]))
        except TimeoutError:
            return None


def told(answer):
    kind, said = answer
    resolvers = said.get(RESOLVERS, b"")
    given = [content for code, content in options(said.get(IA_NA, b"")[12:]) if code == IA_ADDRESS]
    show = lambda raw: str(ipaddress.IPv6Address(raw))
    return {"kind": kind, "addresses": [show(content[:16]) for content in given],
            "resolvers": [show(resolvers[n:n + 16]) for n in range(0, len(resolvers), 16)]}


def main():
    client = Client(*sys.argv[1:3])
    if sys.argv[3] == "information":
        answer = client.ask(INFORMATION)
    else:
        association = option(IA_NA, struct.pack("!III", 1, 0, 0))
        answer = client.ask(SOLICIT, association)
        if answer and answer[0] == ADVERTISE and IA_NA in answer[1]:
            offered = option(IA_NA, answer[1][IA_NA])
            answer = client.ask(REQUEST, option(SERVER_ID, answer[1][SERVER_ID]), offered)
    print(json.dumps(answer and told(answer)))


if __name__ == "__main__":
    main()
