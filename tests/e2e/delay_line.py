"""delay_line.py DEVICE DEVICE MILLISECONDS: forwards Ethernet frames between two devices, each after a delay."""

import heapq
import itertools
import select
import socket
import sys
import time

ETH_P_ALL = 3
PACKET_OUTGOING = 4


def main() -> None:
    names, delay = sys.argv[1:3], float(sys.argv[3]) / 1000
    ends = []
    for name in names:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        end.bind((name, 0))
        end.setblocking(False)
        ends.append(end)
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    due: list = []
    order = itertools.count()
    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) if due else None
        readable, _, _ = select.select(ends, [], [], wait)
        now = time.monotonic()
        for end in readable:
            for _ in range(64):
                try:
                    frame, where = end.recvfrom(65536)
                except BlockingIOError:
                    break
                except OSError:
                    break  # the link is down
                if where[2] != PACKET_OUTGOING:
                    heapq.heappush(due, (now + delay, next(order), other[end], frame))
        while due and due[0][0] <= time.monotonic():
            _, _, to, frame = heapq.heappop(due)
            try:
                to.send(frame)
            except OSError:
                pass  # as a cable that is unplugged


if __name__ == "__main__":
    main()
