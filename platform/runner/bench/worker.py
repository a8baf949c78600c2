"""The least a Python worker can do: answers framed JSON (4 bytes, big endian) on a Unix socket."""

import json
import socket
import struct
import sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
rest = b""
while True:
    chunk = connection.recv(1 << 17)
    if not chunk:
        break
    rest = rest + chunk if rest else chunk
    at, answers = 0, []
    while len(rest) - at >= 4:
        size = struct.unpack_from(">I", rest, at)[0]
        if len(rest) - at - 4 < size:
            break
        message = json.loads(rest[at + 4 : at + 4 + size])
        at += 4 + size
        answer = json.dumps({"id": message["id"], "v": {"x": message["in"]["x"]}}, separators=(",", ":")).encode()
        answers.append(struct.pack(">I", len(answer)) + answer)
    rest = rest[at:]
    connection.sendall(b"".join(answers))
