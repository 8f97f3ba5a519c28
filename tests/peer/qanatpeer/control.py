"""Control messages and the control connection, for both sides: PROTOCOL.md section 3.2."""

import os
import threading
from dataclasses import dataclass
from typing import Callable

from .keys import Malformed
from .messages import NO_ADDRESS, Address, Control, Punch, Status, decode_endpoint
from .records import ALERT, CLOSE_NOTIFY, CONTROL, Cut, ProtocolError, RecordChannel, check_header, read_exactly

SMALL_RECORD, LARGE_RECORD = 128, 512
TEXT_MAX = 120
PUNCH_DELAY_MAX = 1000
FROM_CLIENT = (Control.PING, Control.PONG, Control.ASK_POLICY, Control.PUNCH)
FROM_NODE = (Control.PING, Control.PONG, Control.DRAINING, Control.POLICY_ANSWER, Control.PUNCH_ANSWER)
POLICY_STATUSES = (Status.OK, Status.DENIED, Status.NO_SUCH_NAME, Status.NOT_RESOLVED)

# What a node says to ASK_POLICY: a status and the rule for people.
Policy = Callable[[Address], tuple[int, str]]


@dataclass
class ControlMessage:
    kind: int
    token: int = 0
    load: int = 0  # of PONG, 0–10000
    address: Address | None = None  # of ASK_POLICY, PUNCH and PUNCH_ANSWER
    status: int = Status.OK  # of POLICY_ANSWER; of PUNCH_ANSWER a Punch
    text: str = ""
    delay_ms: int = 0  # of PUNCH, 0–1000

    @property
    def record_size(self) -> int:
        return LARGE_RECORD if self.kind in (Control.ASK_POLICY, Control.POLICY_ANSWER) else SMALL_RECORD

    def encode(self) -> bytes:
        body = b"" if self.kind == Control.DRAINING else self.token.to_bytes(8, "big")
        if self.kind == Control.PONG:
            body += self.load.to_bytes(2, "big")
        elif self.kind == Control.ASK_POLICY:
            body += self.address.encode()
        elif self.kind == Control.POLICY_ANSWER:
            text = self.text.encode()
            body += bytes([self.status, len(text)]) + text
        elif self.kind == Control.PUNCH:
            body += self.delay_ms.to_bytes(2, "big") + self.address.encode()
        elif self.kind == Control.PUNCH_ANSWER:
            body += bytes([self.status]) + (self.address or NO_ADDRESS).encode()
        return bytes([self.kind]) + body

    @classmethod
    def decode(cls, data: bytes) -> "ControlMessage":
        """A body that is longer or shorter than the table says is none of its messages."""
        if not data or data[0] not in iter(Control):
            raise Malformed("not a control message")
        message, body = cls(Control(data[0])), data[1:]
        if message.kind != Control.DRAINING:
            if len(body) < 8:
                raise Malformed("a control message without its token")
            message.token, body = int.from_bytes(body[:8], "big"), body[8:]
        if message.kind == Control.PONG:
            message.load, body = int.from_bytes(body[:2].rjust(2, b"\xff"), "big"), body[2:]
            if message.load > 10000:
                raise Malformed("PONG: load out of range")
        elif message.kind == Control.ASK_POLICY:
            message.address, body = Address.decode(body)
        elif message.kind == Control.POLICY_ANSWER:
            if len(body) < 2 or body[0] not in POLICY_STATUSES or len(body) - 2 < body[1] or body[1] > TEXT_MAX:
                raise Malformed("POLICY_ANSWER")
            message.status, message.text = body[0], body[2:2 + body[1]].decode(errors="replace")
            body = body[2 + body[1]:]
        elif message.kind == Control.PUNCH:
            message.delay_ms, (message.address, body) = int.from_bytes(body[:2], "big"), decode_endpoint(body[2:])
            if message.delay_ms > PUNCH_DELAY_MAX:
                raise Malformed("PUNCH: delay out of range")
        elif message.kind == Control.PUNCH_ANSWER:
            if not body or body[0] not in iter(Punch):
                raise Malformed("PUNCH_ANSWER: unknown status")
            message.status, (message.address, body) = body[0], decode_endpoint(body[1:])
            if message.status != Punch.READY and message.address != NO_ADDRESS:
                raise Malformed("PUNCH_ANSWER: an address without being ready")
        if body:
            raise Malformed("a control message with more than its body")
        return message


class ControlConnection:
    """Control records after MSG2. Each side names the messages that may reach it."""

    def __init__(self, channel: RecordChannel, accepted: tuple[int, ...]):
        self.channel = channel
        self.draining = False
        self.load = 0  # in PONGs sent
        self.peer_load = 0  # of the last PONG that came
        self._accepted = accepted
        self._lock = threading.Lock()

    def send_message(self, message: ControlMessage) -> None:
        with self._lock:
            self.channel.sock.sendall(
                self.channel.sealer.seal_to(CONTROL, message.encode(), message.record_size))

    def send(self, kind: int, token: int = 0) -> None:
        self.send_message(ControlMessage(kind, token))

    def receive_any(self) -> ControlMessage | None:
        """The next message; None after close_notify. A PING was answered before it is returned."""
        header = read_exactly(self.channel.sock, 5)
        body = read_exactly(self.channel.sock, check_header(header))
        content_type, content = self.channel.opener.open(header, body)
        if (content_type, content) == (ALERT, CLOSE_NOTIFY):
            return None
        if content_type != CONTROL:
            raise ProtocolError(f"type {content_type} on the control connection")
        try:
            message = ControlMessage.decode(content)
        except Malformed as error:
            raise ProtocolError(str(error)) from None
        if message.kind not in self._accepted:
            raise ProtocolError(f"{message.kind!r} from this side")
        if len(header) + len(body) != message.record_size:
            raise ProtocolError(f"{message.kind!r} in a record of {len(header) + len(body)} bytes")
        if message.kind == Control.PING:
            self.send_message(ControlMessage(Control.PONG, message.token, self.load))
        elif message.kind == Control.PONG:
            self.peer_load = message.load
        elif message.kind == Control.DRAINING:
            self.draining = True
        return message

    def receive_message(self) -> ControlMessage:
        """The next message that is not a PING."""
        while True:
            message = self.receive_any()
            if message is None:
                raise Cut("the control connection was closed")
            if message.kind != Control.PING:
                return message

    def receive(self) -> tuple[int, int]:
        """Kind and token of the next message that is not a PING."""
        message = self.receive_message()
        return message.kind, message.token

    def ping(self, token: int | None = None) -> None:
        token = new_token() if token is None else token
        self.send(Control.PING, token)
        answer = self.receive()
        if answer != (Control.PONG, token):
            raise ProtocolError(f"PING answered with {answer}")

    def ask_policy(self, host: str, port: int) -> tuple[int, str]:
        token = new_token()
        self.send_message(ControlMessage(Control.ASK_POLICY, token, address=Address(host, port)))
        answer = self.receive_message()
        if (answer.kind, answer.token) != (Control.POLICY_ANSWER, token):
            raise ProtocolError(f"ASK_POLICY answered with {answer}")
        return answer.status, answer.text


def new_token() -> int:
    return int.from_bytes(os.urandom(8), "big")
