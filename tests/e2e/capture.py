"""Writes each Ethernet frame that passes a device as a line of hex, once it has said `ready`."""

import socket
import sys

ALL = 3  # ETH_P_ALL


def main():
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL)) as device:
        device.bind((sys.argv[1], 0))
        print("ready", flush=True)
        while True:
            print(device.recv(65536).hex(), flush=True)


if __name__ == "__main__":
    main()
