"""Stream keys and preambles: PROTOCOL.md section 4."""

import hashlib

from .handshake import SessionSecrets
from .keys import expand_label, extract, mask_numbers
from .records import RecordCipher

CLIENT_PREAMBLE = b"\x17\x03\x03\x00\x30"
NODE_PREAMBLE = b"\x17\x03\x03\x00\x20"
CLIENT_PREAMBLE_SIZE, NODE_PREAMBLE_SIZE = 53, 37
CLIENT_BLOCK, NODE_BLOCK = 512, 256


class StreamKeys:
    """Keys of one stream. The node's direction needs server_random, which comes later."""

    def __init__(self, secrets: SessionSecrets, number: int, client_random: bytes):
        self.suite = secrets.suite
        self._t0 = hashlib.sha256(b"qanat1 stream" + bytes([secrets.suite]) + secrets.session_id.to_bytes(8, "big")
                                  + number.to_bytes(8, "big") + client_random).digest()
        self._e = extract(client_random, secrets.data)

    def client_to_node(self) -> RecordCipher:
        return RecordCipher(self.suite, expand_label(self._e, "c2n", self._t0, 32))

    def node_to_client(self, server_random: bytes) -> RecordCipher:
        t1 = hashlib.sha256(self._t0 + server_random).digest()
        return RecordCipher(self.suite, expand_label(extract(server_random, self._e), "n2c", t1, 32))


def client_preamble(header_key: bytes, client_random: bytes, session_id: int, number: int) -> bytes:
    numbers = session_id.to_bytes(8, "big") + number.to_bytes(8, "big")
    return CLIENT_PREAMBLE + client_random + mask_numbers(header_key, client_random, numbers)


def read_client_preamble(header_key: bytes, preamble: bytes) -> tuple[bytes, int, int]:
    """client_random, session id, stream number. The five header bytes are checked by the caller."""
    client_random = preamble[5:37]
    numbers = mask_numbers(header_key, client_random, preamble[37:53])
    return client_random, int.from_bytes(numbers[:8], "big"), int.from_bytes(numbers[8:], "big")


def block_size(fixed: int, content: int, block: int) -> int:
    """Size of the record that makes fixed + record the next multiple of block."""
    least = fixed + 5 + content + 1 + 16
    return -(-least // block) * block - fixed
