#!/usr/bin/env python3
"""What botocore makes of generated requests and responses: the truth that Berth is compared with.

    truth.py services SHARD SHARDS [SERVICE...]   cases for the services' read operations
    truth.py vectors CACHE                        botocore's own protocol tests

The protocol tests are in botocore's source archive only: pip puts it into the folder CACHE unless
it is there.

Prints one JSON object per line: `{"model": …}` (a compact model that the cases after it use),
`{"case": …}`, and last `{"done": …}`. Everything is seeded: the same botocore gives the same cases.
"""

import base64
import binascii
import datetime
import http.client
import importlib.util
import json
import math
import pathlib
import random
import re
import struct
import subprocess
import sys
import tarfile
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape, quoteattr

import botocore.session
from botocore import handlers, parsers, serialize
from botocore.awsrequest import AWSRequest, HeadersDict, prepare_request_dict
from botocore.endpoint_provider import EndpointProvider
from botocore.model import OperationModel, ServiceModel

HERE = pathlib.Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("generate", HERE / "../../host/aws-protocol/models/generate.py")
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)

IDEMPOTENCY_TOKEN = "00000000-0000-0000-0000-000000000000"
UTC = datetime.timezone.utc


class Raw:
    """A streamed body, as the HTTP layer would hand it to the parser."""

    def __init__(self, body):
        self.body = body


def normal(value):
    """A parsed answer in Berth's JSON form."""
    if isinstance(value, dict):
        return {key: normal(inner) for key, inner in value.items() if key != "ResponseMetadata"}
    if isinstance(value, list):
        return [normal(inner) for inner in value]
    if isinstance(value, datetime.datetime):
        value = value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
        fraction = f".{value.microsecond:06}" if value.microsecond else ""
        return f"{value.year:04}{value.strftime('-%m-%dT%H:%M:%S')}{fraction}Z"
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, Raw):
        return base64.b64encode(value.body).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


# --- Values --------------------------------------------------------------------------------------

TEXTS = [
    "", "plain", "true", "null", "0", "a b", " padded ", "tab\tand\nline", "\"quoted\" 'single'", "<&>", "]]>",
    "ünïcödé", "日本語", "😀", "a/b?c=d&e#f%20", "arn:aws:iam::111122223333:role/x", "x" * 300, "\u00a0", "-", "+1",
    "\u2028",
]
LABELS = ["plain", "a b", "ünï", "a/b", "x%20y", "~-._", "a+b", "arn:aws:x::1:y/z", "*'()!", "$@&=;,"]
INTEGERS = [0, 1, -1, 7, 255, 65536, 2147483647, -2147483648]
LONGS = INTEGERS + [9007199254740993, 9223372036854775807, -9223372036854775808]
FLOATS = [0.0, 1.0, -1.5, 0.1, 1e300, 5e-324, 1e21, 123456789.123456, 3.141592653589793, 1e-7, 2.5]
BLOBS = [b"", b"plain", bytes(range(256)), "ü".encode(), b"\xff\xfe"]
TIMES = [
    datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
    datetime.datetime(1970, 1, 1, tzinfo=UTC),
    datetime.datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
    datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime.datetime(2015, 8, 27, 17, 50, 1, 999000, tzinfo=UTC),
    datetime.datetime(2015, 8, 27, 17, 50, 1, 123456, tzinfo=UTC),
    datetime.datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC),
]
DOCUMENTS = [{}, [], "text", 1, 1.5, True, {"a": [1, {"b": None}], "ü": "x"}, [None, "a"]]
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::a b/*"}]}'


class Values:
    """Makes values of a shape. Each mode favours other edges: everything set, little set, any."""

    def __init__(self, rng, mode, is_input, budget=400):
        self.rng, self.mode, self.is_input, self.budget = rng, mode, is_input, budget

    def make(self, shape, depth=0):
        self.budget -= 1
        return getattr(self, shape.type_name)(shape, depth)

    def structure(self, shape, depth):
        if shape.metadata.get("document"):
            return self.rng.choice(DOCUMENTS)
        members = list(shape.members)
        if shape.is_tagged_union:
            return {name: self.make(shape.members[name], depth + 1) for name in self.rng.sample(members, min(1, len(members)))}
        required = set(shape.required_members) if self.is_input else set()
        chance = {"full": 1.0, "sparse": 0.25, "mixed": 0.6}[self.mode]
        value = {}
        for name in members:
            member = shape.members[name]
            if member.serialization.get("eventstream"):
                continue
            wanted = self.rng.random() < chance and (depth < 5 and self.budget > 0 or depth == 0)
            if name in required or wanted or member.serialization.get("location") == "uri":
                if depth > 12:
                    continue
                value[name] = self.make(member, depth + 1)
        return value

    def list(self, shape, depth):
        if depth > 6 or self.budget <= 0:
            return []
        count = {"full": self.rng.choice([1, 2]), "sparse": self.rng.choice([0, 1]), "mixed": self.rng.choice([0, 1, 2, 3])}
        return [self.make(shape.member, depth + 1) for _ in range(count[self.mode])]

    def map(self, shape, depth):
        if depth > 6 or self.budget <= 0:
            return {}
        keys = ["key", "Ünï code", "a.b/c", "<k&>"] if not shape.serialization.get("location") else ["key", "a-b", "x1"]
        enum = getattr(shape.key, "enum", None)
        keys = enum[:3] if enum and self.is_input else keys
        count = {"full": 2, "sparse": self.rng.choice([0, 1]), "mixed": self.rng.choice([0, 1, 3])}[self.mode]
        chosen = self.rng.sample(keys, min(count, len(keys)))
        return {key: self.make(shape.value, depth + 1) for key in chosen}

    def string(self, shape, depth):
        location = shape.serialization.get("location")
        if shape.name == "policyDocumentType":
            return self.rng.choice([POLICY, "not json", POLICY.replace('"', "%22").replace(" ", "%20")])
        if shape.serialization.get("jsonvalue") and location == "header":
            return self.rng.choice(DOCUMENTS)
        if shape.serialization.get("hostLabel"):
            return "111122223333"
        if location == "uri":
            return self.rng.choice(LABELS)
        if location in ("header", "headers"):
            return self.rng.choice(["plain", "a, b", "with space", "true", 'say "hi"', "0"])
        return self.rng.choice(TEXTS)

    character = string

    def integer(self, shape, depth):
        return self.rng.choice(INTEGERS)

    def long(self, shape, depth):
        return self.rng.choice(LONGS)

    def double(self, shape, depth):
        return self.rng.choice(FLOATS)

    def float(self, shape, depth):
        return self.rng.choice([0.0, 1.0, -1.5, 0.25, 1024.0])

    def boolean(self, shape, depth):
        return self.rng.random() < 0.5

    def blob(self, shape, depth):
        return self.rng.choice(BLOBS)

    def timestamp(self, shape, depth):
        return self.rng.choice(TIMES)


# --- Values on the wire --------------------------------------------------------------------------


def spell_time(rng, value, numbers):
    """One of the forms in which services write a time."""
    whole = value.microsecond == 0
    epoch = (value - datetime.datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    forms = [
        value.strftime("%Y-%m-%dT%H:%M:%SZ" if whole else "%Y-%m-%dT%H:%M:%S.%fZ"),
        value.strftime("%Y-%m-%dT%H:%M:%S.000Z" if whole else "%Y-%m-%dT%H:%M:%S.%f+00:00"),
        str(int(epoch)) if whole else repr(epoch),
    ]
    if value.year < 9999:
        forms.append(value.astimezone(datetime.timezone(datetime.timedelta(hours=2))).isoformat())
    if whole:
        forms.append(value.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    if numbers:
        forms += [int(epoch) if whole else epoch, epoch, value.timestamp()]
    return rng.choice(forms)


class JsonWriter:
    def __init__(self, rng):
        self.rng = rng

    def write(self, shape, value):
        kind = shape.type_name
        if kind == "structure":
            if shape.metadata.get("document"):
                return value
            result = {}
            for name, inner in value.items():
                member = shape.members[name]
                # What is bound to a header may be in the body, too.
                if member.serialization.get("location") and self.rng.random() < 0.7:
                    continue
                result[member.serialization.get("name", name)] = self.write(member, inner)
            if not shape.is_tagged_union and self.rng.random() < 0.15:
                result["ANewMember"] = self.rng.choice([None, 1, "x", {"deep": [1, {}]}])
            if not shape.is_tagged_union and self.rng.random() < 0.1 and shape.members:
                name = self.rng.choice(list(shape.members))
                result.setdefault(shape.members[name].serialization.get("name", name), None)
            if shape.is_tagged_union and self.rng.random() < 0.3:
                result = {"__type": "x#Y", **result} if self.rng.random() < 0.5 else {"AnUnknownMember": {"x": 1}}
            return result
        if kind == "list":
            items = [self.write(shape.member, item) for item in value]
            if self.rng.random() < 0.05:
                items.append(None)
            return items
        if kind == "map":
            return {key: self.write(shape.value, inner) for key, inner in value.items()}
        if kind == "blob":
            return base64.b64encode(value).decode()
        if kind == "timestamp":
            return spell_time(self.rng, value, numbers=True)
        if kind in ("float", "double") and self.rng.random() < 0.1:
            return self.rng.choice(["NaN", "Infinity", "-Infinity"])
        return value

    def body(self, shape, value):
        text = json.dumps(self.write(shape, value), ensure_ascii=self.rng.random() < 0.5)
        return text.encode()


class XmlWriter:
    def __init__(self, rng, item_name):
        self.rng, self.item_name = rng, item_name

    def space(self):
        return self.rng.choice(["", "", "\n  ", "<!-- a comment -->", " "])

    def text(self, value):
        form = self.rng.random()
        if form < 0.1 and "]]>" not in value:
            return f"<![CDATA[{value}]]>"
        if form < 0.2:
            return "".join(f"&#{ord(c)};" if c in "<&>\"'\n\t" or ord(c) > 126 else c for c in value)
        if form < 0.25:
            return escape(value, {'"': "&quot;", "'": "&apos;", "ü": "&#xfc;"})
        if form < 0.3 and len(value) > 3:
            return escape(value[:2]) + "<!-- within -->" + escape(value[2:])
        return escape(value)

    def scalar(self, shape, value):
        kind = shape.type_name
        if kind == "boolean":
            return "true" if value else "false"
        if kind == "blob":
            text = base64.b64encode(value).decode()
            return text if self.rng.random() < 0.7 else f"\n{text}\n"
        if kind == "timestamp":
            return spell_time(self.rng, value, numbers=False)
        if kind in ("float", "double"):
            return self.rng.choice([repr(value), repr(value), "NaN", "Infinity"])
        return self.text(str(value))

    def element(self, name, shape, value, attributes=""):
        kind = shape.type_name
        if kind == "structure":
            inner, own = self.members(shape, value)
            attributes += own
        elif kind == "list":
            item = shape.member.serialization.get("name", self.item_name)
            inner = self.space().join(["", *(self.element(item, shape.member, one) for one in value), ""])
        elif kind == "map":
            inner = "".join(self.entry("entry", shape, key, one) for key, one in value.items())
        else:
            inner = self.scalar(shape, value)
        if not inner and self.rng.random() < 0.5:
            return f"<{name}{attributes}/>"
        return f"<{name}{attributes}>{inner}</{name}>"

    def entry(self, name, shape, key, value):
        key_name = shape.key.serialization.get("name") or "key"
        value_name = shape.value.serialization.get("name") or "value"
        parts = [f"<{key_name}>{self.text(key)}</{key_name}>", self.element(value_name, shape.value, value)]
        if self.rng.random() < 0.1:
            parts.reverse()
        return f"<{name}>{self.space().join(['', *parts, ''])}</{name}>"

    def members(self, shape, value):
        parts, attributes = [], ""
        # S3's old notifications give the same elements to two members, `Event` and `Events`.
        # botocore hands out its innards for the first of them when there is more than one.
        if "Event" in value and "Events" in shape.members:
            value = {name: inner for name, inner in value.items() if name != "Events"}
        for name, inner in value.items():
            member = shape.members[name]
            binding = member.serialization
            if binding.get("location"):
                continue
            tag = binding.get("name", name)
            if name == "Events" and "Event" in shape.members:
                inner = inner[:1]
            if binding.get("xmlAttribute"):
                prefix = tag.split(":")[0]
                attributes += f' xmlns:{prefix}="http://www.w3.org/2001/XMLSchema-instance" {tag}={quoteattr(str(inner))}'
            elif binding.get("flattened") and member.type_name == "list":
                tag = member.member.serialization.get("name", tag)
                parts += [self.element(tag, member.member, one) for one in inner]
            elif binding.get("flattened") and member.type_name == "map":
                parts += [self.entry(tag, member, key, one) for key, one in inner.items()]
            else:
                parts.append(self.element(tag, member, inner))
        if self.rng.random() < 0.15 and not shape.is_tagged_union:
            parts.append("<aNewElement><item>1</item><x/></aNewElement>")
        if self.rng.random() < 0.2:
            self.rng.shuffle(parts)
        return self.space().join(["", *parts, ""]) if parts else "", attributes

    def body(self, inner):
        head = self.rng.choice(["", '<?xml version="1.0" encoding="UTF-8"?>', '<?xml version="1.0"?>\n'])
        return (head + inner + self.rng.choice(["", "\n"])).encode()


class CborWriter:
    def __init__(self, rng):
        # botocore hands out what is in a map without looking at the model, and so, there only,
        # members that it does not know.
        self.rng, self.in_map = rng, False

    def head(self, major, argument):
        for info, width, limit in ((None, 0, 24), (24, 1, 1 << 8), (25, 2, 1 << 16), (26, 4, 1 << 32), (27, 8, 1 << 64)):
            if argument < limit:
                first = argument if info is None else info
                return bytes([major << 5 | first]) + (argument.to_bytes(width, "big") if width else b"")
        raise ValueError(argument)

    def text(self, value):
        encoded = value.encode()
        return self.head(3, len(encoded)) + encoded

    def number(self, value):
        if isinstance(value, float):
            return b"\xfb" + struct.pack(">d", value)
        return self.head(0, value) if value >= 0 else self.head(1, -1 - value)

    def write(self, shape, value):
        kind = shape.type_name
        if kind == "structure":
            pairs = [self.text(name) + self.write(shape.members[name], inner) for name, inner in value.items()]
            if not shape.is_tagged_union and not self.in_map and self.rng.random() < 0.2:
                pairs.append(self.text("ANewMember") + self.rng.choice([b"\xf6", b"\x82\x01\xf5", self.text("x")]))
            return self.collection(5, pairs)
        if kind == "list":
            return self.collection(4, [self.write(shape.member, item) for item in value])
        if kind == "map":
            before, self.in_map = self.in_map, True
            pairs = [self.text(key) + self.write(shape.value, inner) for key, inner in value.items()]
            self.in_map = before
            return self.collection(5, pairs)
        if kind == "blob":
            return self.head(2, len(value)) + value
        if kind == "timestamp":
            epoch = value.timestamp()
            return b"\xc1" + self.number(int(epoch) if epoch == int(epoch) and self.rng.random() < 0.5 else epoch)
        if kind == "boolean":
            return b"\xf5" if value else b"\xf4"
        if kind == "float":
            return self.rng.choice([b"\xfa" + struct.pack(">f", value), b"\xf9" + struct.pack(">e", value)])
        if kind in ("integer", "long", "double"):
            return self.number(value)
        return self.text(value)

    def collection(self, major, parts):
        if self.rng.random() < 0.2:
            return bytes([major << 5 | 31]) + b"".join(parts) + b"\xff"
        return self.head(major, len(parts)) + b"".join(parts)


def header_text(rng, shape, value):
    kind = shape.type_name
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "timestamp":
        return spell_time(rng, value, numbers=False)
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind == "list":
        return ", ".join(header_text(rng, shape.member, one).replace(",", "") for one in value)
    if shape.serialization.get("jsonvalue"):
        return base64.b64encode(json.dumps(value).encode()).decode()
    return str(value)


def make_response(rng, protocol, operation, mode):
    """An answer that is valid by the model: status, headers, body."""
    shape = operation.output_shape
    value = Values(rng, mode, is_input=False).make(shape)
    headers, body = {}, b""
    namespace = rng.choice(["", ' xmlns="http://example.com/doc/2024-01-01/"'])
    if operation.name == "GetBucketLocation":
        body = f"<LocationConstraint{namespace}>{value.get('LocationConstraint', '')}</LocationConstraint>".replace("&", "&amp;").encode()
    elif protocol == "ec2":
        writer = XmlWriter(rng, "item")
        inner, _ = writer.members(shape, value)
        body = writer.body(f"<{operation.name}Response{namespace}><requestId>r-1</requestId>{inner}</{operation.name}Response>")
    elif protocol == "query":
        writer = XmlWriter(rng, "member")
        inner, _ = writer.members(shape, value)
        wrapper = shape.serialization.get("resultWrapper")
        inner = f"<{wrapper}>{inner}</{wrapper}>" if wrapper else inner
        metadata = "<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>"
        body = writer.body(f"<{operation.name}Response{namespace}>{inner}{metadata}</{operation.name}Response>")
    elif protocol == "json":
        body = JsonWriter(rng).body(shape, value)
    elif protocol == "smithy-rpc-v2-cbor":
        body = CborWriter(rng).write(shape, value)
    else:
        for name, inner in value.items():
            member = shape.members[name]
            location = member.serialization.get("location")
            if location == "header":
                headers[member.serialization.get("name", name)] = header_text(rng, member, inner)
            elif location == "headers":
                for key, one in inner.items():
                    headers[member.serialization.get("name", "") + key] = str(one)
        payload = shape.serialization.get("payload")
        in_body = {name: inner for name, inner in value.items() if not shape.members[name].serialization.get("location")}
        if payload is not None:
            member, inner = shape.members[payload], value.get(payload)
            if member.type_name == "blob":
                body = inner or b""
            elif member.type_name == "string":
                body = (inner or "").encode()
            elif inner is None and protocol == "rest-json":
                body = b"{}"
            elif inner is None:
                body = b"<Empty/>"
            elif protocol == "rest-json":
                body = JsonWriter(rng).body(member, inner)
            else:
                name = member.serialization.get("name", payload)
                writer = XmlWriter(rng, "member")
                body = writer.body(writer.element(name, member, inner, namespace))
        elif any(not member.serialization.get("location") for member in shape.members.values()) or rng.random() < 0.5:
            if protocol == "rest-json":
                body = JsonWriter(rng).body(shape, value)
            else:
                writer = XmlWriter(rng, "member")
                body = writer.body(writer.element(f"{operation.name}Result", shape, in_body, namespace))
    return 200, headers, body


def parse_response(service, protocol, operation, status, headers, body):
    """What the AWS CLI would print."""
    shape = operation.output_shape
    streamed = operation.has_streaming_output
    response = {
        "status_code": status,
        "headers": HeadersDict(headers),
        "body": Raw(body) if streamed and status < 301 else body,
        "context": {"operation_name": operation.name},
    }
    parsed = parsers.create_parser(protocol).parse(response, shape)
    if service == "iam":
        handlers.json_decode_policies(parsed, operation)
    elif (service, operation.name) == ("cloudformation", "GetTemplate"):
        handlers.json_decode_template_body(parsed)
    elif (service, operation.name) == ("ec2", "GetConsoleOutput"):
        handlers.decode_console_output(parsed)
    elif (service, operation.name) == ("s3", "GetBucketLocation"):
        http_response = type("Response", (), {"raw": True, "content": body})
        handlers.parse_get_bucket_location(parsed, http_response)
    return parsed


# --- Errors --------------------------------------------------------------------------------------


def make_error(rng, protocol):
    status = rng.choice([400, 403, 404, 429, 500, 503])
    code = rng.choice(["AccessDenied", "ThrottlingException", "com.amazon.x#NoSuchThing", "Denied:http://internal.amazon.com/", "a.b#C:http://x"])
    message = rng.choice(["", "not allowed", "<b>ünï</b> & more"])
    headers = rng.choice([{}, {"x-amzn-RequestId": "r-1"}, {"x-amz-request-id": "r-2", "x-amz-id-2": "h"}])
    if rng.random() < 0.1:
        return 503, headers, rng.choice([b"", b"<html><body><b>Http/1.1 Service Unavailable</b></body></html>"])
    if protocol in ("ec2", "query", "rest-xml"):
        inner = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        forms = {
            "ec2": [f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>r-3</RequestID></Response>"],
            "query": [
                f'<ErrorResponse xmlns="http://x/"><Error><Type>Sender</Type>{inner}</Error><RequestId>r-3</RequestId></ErrorResponse>',
                f"<Response><Errors><Error>{inner}</Error></Errors><RequestId>r-3</RequestId></Response>",
            ],
            "rest-xml": [
                f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}<Resource>/x</Resource></Error>',
                f'<ErrorResponse xmlns="http://x/"><Error><Type>Sender</Type>{inner}</Error><RequestId>r-3</RequestId></ErrorResponse>',
            ],
        }
        return status, headers, rng.choice(forms[protocol]).encode()
    body = rng.choice([{"message": message}, {"Message": message}, {}])
    place = rng.choice(["__type", "code", "Code", "header", "query", "none"])
    if place == "header":
        headers = {**headers, "x-amzn-errortype": code}
    elif place == "query":
        headers = {**headers, "x-amzn-query-error": "AWS.Old.Code;Sender"}
        body["__type"] = code
    elif place != "none":
        body[place] = code
    if protocol == "smithy-rpc-v2-cbor":
        writer = CborWriter(rng)
        return status, headers, writer.head(5, len(body)) + b"".join(writer.text(k) + writer.text(v) for k, v in body.items())
    return status, headers, rng.choice([json.dumps(body).encode()] * 5 + [b"not json"])


def parse_error(protocol, status, headers, body):
    response = {"status_code": status, "headers": HeadersDict(headers), "body": body, "context": {}}
    parsed = parsers.create_parser(protocol).parse(response, None)
    error = parsed.get("Error", {})
    # Where botocore knows nothing, Berth says what the status says.
    return {
        "code": error.get("Code") or str(status),
        "message": error.get("Message") or http.client.responses.get(status, ""),
        "request_id": parsed.get("ResponseMetadata", {}).get("RequestId") or None,
    }


# --- Requests ------------------------------------------------------------------------------------


def as_input(shape, value):
    """A botocore input as Berth takes it: JSON."""
    kind = shape.type_name
    if kind == "structure":
        if shape.metadata.get("document"):
            return value
        return {name: as_input(shape.members[name], inner) for name, inner in value.items()}
    if kind == "list":
        return [as_input(shape.member, inner) for inner in value]
    if kind == "map":
        return {key: as_input(shape.value, inner) for key, inner in value.items()}
    return normal(value)


def serialize_request(service, operation, protocol, parameters):
    serialized = serialize.create_serializer(protocol, include_validation=False).serialize_to_request(parameters, operation)
    if service == "glacier":
        handlers.add_glacier_version(operation, serialized)
    if service == "apigateway":
        handlers.add_accept_header(operation, serialized)
    prefix = serialized.get("host_prefix")
    is_form = isinstance(serialized["body"], dict)
    prepare_request_dict(serialized, "https://host.example.com", context={})
    request = AWSRequest(
        method=serialized["method"], url=serialized["url"], headers=serialized["headers"], data=serialized["body"]
    ).prepare()
    url = urlsplit(request.url)
    body = request.body or b""
    body = body.encode() if isinstance(body, str) else body
    if is_form:
        body = {"form": sorted(parse_qsl(body.decode(), keep_blank_values=True))}
    elif not body:
        body = {"empty": True}
    elif protocol in ("json", "rest-json") and not is_raw_body(operation):
        body = {"json": json.loads(body)}
    elif protocol == "rest-xml" and not is_raw_body(operation):
        body = {"xml": body.decode()}
    else:
        body = {"bytes": base64.b64encode(body).decode()}
    ignored = {"content-length", "user-agent"}
    headers = {}
    for name, value in request.headers.items():
        if name.lower() not in ignored:
            headers[name.lower()] = value.decode() if isinstance(value, bytes) else str(value)
    return {
        "method": request.method,
        "path": url.path or "/",
        "query": sorted(parse_qsl(url.query, keep_blank_values=True)),
        "headers": headers,
        "body": body,
        "host_prefix": prefix,
    }


def is_raw_body(operation):
    shape = operation.input_shape
    payload = shape.serialization.get("payload") if shape is not None else None
    return payload is not None and shape.members[payload].type_name in ("blob", "string")


def make_request(rng, service, operation, protocol, mode):
    shape = operation.input_shape
    if shape is None:
        return {}, serialize_request(service, operation, protocol, {})
    value = Values(rng, mode, is_input=True, budget=150).make(shape)
    given = as_input(shape, value)
    for name in operation.idempotent_members:
        value.setdefault(name, IDEMPOTENCY_TOKEN)
    if service == "glacier":
        if rng.random() < 0.5:
            value.pop("accountId", None)
            given.pop("accountId", None)
        handlers.inject_account_id(value)
    if service == "route53":
        handlers.fix_route53_ids(value, operation)
    return given, serialize_request(service, operation, protocol, value)


# --- Cases ---------------------------------------------------------------------------------------


def emit(kind, value):
    sys.stdout.write(json.dumps({kind: value}, separators=(",", ":")) + "\n")


class Counts(dict):
    def add(self, name):
        self[name] = self.get(name, 0) + 1


def response_case(counts, service, protocol, operation, name, status, headers, body):
    try:
        expected = normal(parse_response(service, protocol, operation, status, headers, body))
    except (parsers.ResponseParserError, SyntaxError, ValueError, TypeError, KeyError, AttributeError, OverflowError, binascii.Error) as error:
        # botocore refuses it: there is nothing to compare with.
        counts.add(f"botocore refuses the response: {type(error).__name__}")
        return
    emit("case", {
        "service": service, "operation": operation.name, "name": name, "kind": "response", "status": status,
        "headers": list(headers.items()), "body": base64.b64encode(body).decode(), "expected": expected,
    })
    counts.add("responses")


REGIONS = ["us-east-1", "eu-west-1", "ap-southeast-7", "xx-new-1", "cn-north-1", "cn-northwest-1", "us-gov-east-1", "us-gov-west-1"]


def endpoint_case(counts, provider, service, operation):
    rng = random.Random(f"{service}.{operation.name}.endpoint")
    region, fips, dual = rng.choice(REGIONS), rng.random() < 0.25, rng.random() < 0.25
    static = {parameter.name: parameter.value for parameter in operation.static_context_parameters}
    static.pop("RequiresAccountId", None)
    if service == "s3" and "Bucket" in operation.input_shape.members:
        static["Bucket"] = generate.BUCKET
    found = generate.evaluate(provider, region, fips, dual, static)
    expected = None
    if found is not None:
        url, signing_region, signing_name = found
        expected = {"url": url, "region": signing_region, "name": signing_name or operation.service_model.signing_name}
    emit("case", {
        "service": service, "operation": operation.name, "name": f"endpoint in {region}", "kind": "endpoint",
        "region": region, "fips": fips, "dual_stack": dual, "expected": expected,
    })
    counts.add("endpoints")


def services(shard, shards, only):
    loader = botocore.session.get_session().get_component("data_loader")
    counts = Counts()
    names = [name for name in sorted(loader.list_available_services("service-2")) if not only or name in only]
    for service in names[shard::shards]:
        model = ServiceModel(loader.load_service_model(service, "service-2"), service)
        protocol = model.resolved_protocol
        provider = EndpointProvider(
            loader.load_service_model(service, "endpoint-rule-set-1"), loader.load_data("partitions")
        )
        for operation_name in model.operation_names:
            if not generate.READ.match(operation_name):
                continue
            operation = model.operation_model(operation_name)
            if operation.has_event_stream_output or operation.has_event_stream_input:
                continue
            for mode in ("full", "sparse", "mixed"):
                rng = random.Random(f"{service}.{operation_name}.{mode}")
                base = {"service": service, "operation": operation_name, "name": mode}
                if operation.output_shape is not None:
                    response_case(counts, service, protocol, operation, mode, *make_response(rng, protocol, operation, mode))
                try:
                    given, expected = make_request(rng, service, operation, protocol, mode)
                except (KeyError, ValueError, RecursionError) as error:
                    counts.add(f"botocore refuses the request: {type(error).__name__}")
                    continue
                emit("case", {**base, "kind": "request", "input": given, "expected": expected})
                counts.add("requests")
            endpoint_case(counts, provider, service, operation)
            rng = random.Random(f"{service}.{operation_name}.error")
            status, headers, body = make_error(rng, protocol)
            emit("case", {
                **base, "name": "error", "kind": "error", "status": status, "headers": list(headers.items()),
                "body": base64.b64encode(body).decode(), "expected": parse_error(protocol, status, headers, body),
            })
            counts.add("errors")
            counts.add("operations")
    emit("done", counts)


# --- botocore's protocol tests -------------------------------------------------------------------


def special_floats(value):
    """JSON has no infinity: the tests spell it as text."""
    if isinstance(value, dict):
        return {key: special_floats(inner) for key, inner in value.items()}
    return {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}.get(value, value) if isinstance(value, str) else value


def from_json(shape, value):
    """A test's parameters with blobs and times as botocore's callers give them."""
    kind = shape.type_name
    if kind == "structure" and not shape.metadata.get("document"):
        return {name: from_json(shape.members[name], inner) for name, inner in value.items()}
    if kind == "list":
        return [from_json(shape.member, inner) for inner in value]
    if kind == "map":
        return {key: from_json(shape.value, inner) for key, inner in value.items()}
    if kind == "blob":
        return value.encode()
    if kind == "timestamp":
        return datetime.datetime.fromtimestamp(value, UTC)
    return value


def has_null(value):
    if isinstance(value, dict):
        return any(has_null(inner) for inner in value.values())
    if isinstance(value, list):
        return any(has_null(inner) for inner in value)
    return value is None


def source_archive(cache):
    archive = pathlib.Path(cache) / f"botocore-{generate.PINNED}.tar.gz"
    if not archive.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--no-binary", ":all:", "--dest", str(cache), f"botocore=={generate.PINNED}"]
        subprocess.run(pip, stdout=sys.stderr)
    return archive if archive.exists() else None


def vectors(cache):
    counts = Counts()
    sdist = source_archive(cache)
    if sdist is None:
        emit("done", {"no source archive": 1})
        return
    with tarfile.open(sdist) as archive:
        for member in sorted(archive.getnames()):
            match = re.search(r"tests/unit/protocols/((?:legacy/)?(?:input|output))/([\w-]+)\.json$", member)
            if match:
                for index, suite in enumerate(json.load(archive.extractfile(member))):
                    vector_suite(counts, f"{match[1]}/{match[2]}/{index}", suite)
    emit("done", counts)


def vector_suite(counts, suite_name, suite):
    for index, case in enumerate(suite["cases"]):
        name = f"{suite_name}/{case.get('id', index)}"
        operation_name = case["given"].get("name", "OperationName")
        # The old tests say at the use of a shape what models say at the shape.
        for part in ("input", "output"):
            if "payload" in case["given"].get(part, {}):
                suite["shapes"][case["given"][part]["shape"]]["payload"] = case["given"][part].pop("payload")
        raw = {
            "metadata": {"endpointPrefix": "vector", "signingName": "vector", "jsonVersion": "1.0", "apiVersion": "2024-01-01", **suite["metadata"]},
            "operations": {operation_name: case["given"]},
            "shapes": suite["shapes"],
        }
        model = ServiceModel(raw, name)
        protocol = suite["metadata"]["protocol"]
        raw["metadata"]["protocols"] = [protocol]
        if protocol == "query" and "output" in case["given"]:
            case["given"]["output"].setdefault("resultWrapper", f"{operation_name}Result")
        operation = OperationModel(case["given"], model, operation_name)
        if operation.has_event_stream_output or operation.has_event_stream_input:
            counts.add("event streams, left out")
            continue
        compact = generate.compact_service(name, raw, {}, is_read=lambda _: True)
        emit("model", {"name": name, "json": {**compact, "endpoints": []}})
        base = {"service": name, "operation": operation_name, "name": name}
        if "params" in case:
            if has_null(case["params"]):
                # A null member is no member to botocore, and a mistake to Berth.
                counts.add("inputs with null, left out")
                continue
            parameters = from_json(operation.input_shape, special_floats(case["params"])) if operation.input_shape else {}
            given = as_input(operation.input_shape, parameters) if operation.input_shape else {}
            for token in operation.idempotent_members:
                parameters.setdefault(token, IDEMPOTENCY_TOKEN)
            try:
                expected = serialize_request("vector", operation, protocol, parameters)
            except (KeyError, ValueError) as error:
                counts.add(f"botocore refuses the request: {type(error).__name__}")
                continue
            emit("case", {**base, "kind": "request", "input": given, "expected": expected})
            counts.add("requests")
        elif "response" in case:
            response = case["response"]
            body = response.get("body", "").encode()
            if protocol == "smithy-rpc-v2-cbor":
                body = base64.b64decode(body)
            headers, status = response.get("headers", {}), response["status_code"]
            if "error" in case or status >= 301:
                emit("case", {
                    **base, "kind": "error", "status": status, "headers": list(headers.items()),
                    "body": base64.b64encode(body).decode(), "expected": parse_error(protocol, status, headers, body),
                })
                counts.add("errors")
            else:
                response_case(counts, name, protocol, operation, name, status, headers, body)


def main():
    match sys.argv[1:]:
        case ["services", shard, shards, *only]:
            services(int(shard), int(shards), only)
        case ["vectors", cache]:
            vectors(cache)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
