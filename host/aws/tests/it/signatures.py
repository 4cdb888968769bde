"""Signs captured requests again with botocore and prints the calls whose signatures differ.

Reads a JSON list of {"call", "method", "url", "headers", "body"} from standard input; all are
signed with the secret key `session-secret`.
"""

import json
import sys

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def differs(seen):
    headers = seen["headers"]
    fields = dict(part.split("=", 1) for part in headers["authorization"].split(" ", 1)[1].split(", "))
    key, _, region, service, _ = fields["Credential"].split("/")
    signed = {name: headers[name] for name in fields["SignedHeaders"].split(";") if name != "host"}
    request = AWSRequest(seen["method"], seen["url"], headers=signed, data=seen["body"].encode())
    request.context["timestamp"] = headers["x-amz-date"]
    auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials(key, "session-secret"), service, region)
    if service == "s3" and "x-amz-content-sha256" not in signed:
        return "the hash of the body is not signed"
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return None if signature == fields["Signature"] else auth.canonical_request(request)


seen = json.load(sys.stdin)
print(json.dumps({request["call"]: reason for request in seen if (reason := differs(request))}))
