#!/usr/bin/env python3
"""Writes Berth's compact AWS service models from the `botocore` package (Apache-2.0).

    pip install botocore==1.44.5
    python generate.py OUT_DIR

OUT_DIR gets one `<service>.json` per service. The files are sorted and minified, so the same
botocore gives the same bytes. `cargo xtask models` then packs them into `models.bin`.

What is kept of a service: its read operations, the shapes that those reach, how each member is
bound to the wire, pagination, and where the service is reached. Documentation, constraints,
enums, errors and examples are not.
"""

import json
import pathlib
import re
import sys
from collections import Counter

import botocore
import botocore.session
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.model import ServiceModel

PINNED = "1.44.5"

# What Berth calls a read. Verbs that may start work or bill for data (`Query`, `Scan`, `Select`,
# `Retrieve`, `Test`, `Simulate`) are not among them.
READ = re.compile(
    r"(Admin)?(Get|List)[A-Z0-9]"
    r"|(Describe|Search|Lookup|Head)([A-Z0-9]|$)"
    r"|Batch(Get|Describe|List|Search)[A-Z0-9]"
)

# Traits of a shape or of a reference to one that decide how it looks on the wire.
TRAITS = [
    "document", "flattened", "hostLabel", "idempotencyToken", "jsonvalue", "location", "locationName",
    "payload", "queryName", "timestampFormat", "union", "xmlAttribute", "xmlNamespace",
]

# Where botocore does more than its models say (`botocore/handlers.py`): (service, shape, member)
# or, without a member, every member of that shape. See `Quirk` in `src/model.rs`.
QUIRKS = {
    ("cloudformation", "GetTemplateOutput", "TemplateBody"): "json",
    ("ec2", "GetConsoleOutputResult", "Output"): "base64Text",
    ("iam", None, "policyDocumentType"): "urlEncodedJson",
    ("route53", None, "ResourceId"): "lastSegment",
    ("route53", None, "DelegationSetId"): "lastSegment",
    ("route53", None, "ChangeId"): "lastSegment",
    ("s3", "GetBucketLocationOutput", "LocationConstraint"): "rootText",
}

# Headers that botocore adds to every request of a service.
HEADERS = {
    "apigateway": {"accept": "application/json"},
    "glacier": {"x-amz-glacier-version": "2012-06-01"},
}


def traits(description):
    """The traits that are set."""
    return {name: description[name] for name in TRAITS if description.get(name) not in (None, False)}


def reference(service, owner, name, ref):
    """A use of a shape, by member `name` of shape `owner` (no name: by a list or map)."""
    result = {"shape": ref["shape"], **traits(ref)}
    quirk = QUIRKS.get((service, owner, name)) or QUIRKS.get((service, None, ref["shape"]))
    if quirk and name is not None:
        result["quirk"] = quirk
    if service == "glacier" and name == "accountId":
        # "-" stands for the account of the credentials.
        result["default"] = "-"
    return result


def compact_shape(service, name, shape, is_input):
    """A shape; what is required matters in inputs only."""
    result = {"type": shape["type"], **traits(shape)}
    if shape["type"] == "structure":
        # In the model's order: it is the order in which the AWS CLI prints the members.
        result["members"] = {
            member: reference(service, name, member, ref) for member, ref in shape.get("members", {}).items()
        }
        required = [member for member in shape.get("required", []) if "default" not in result["members"].get(member, {})]
        if required and is_input:
            result["required"] = sorted(required)
    for part in ("member", "key", "value"):
        if part in shape:
            result[part] = reference(service, name, None, shape[part])
    return result


def reach(shapes, start, seen):
    """Adds the shapes that `start` reaches to `seen`."""
    pending = [start]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        shape = shapes[name]
        pending += [ref["shape"] for ref in shape.get("members", {}).values()]
        pending += [shape[part]["shape"] for part in ("member", "key", "value") if part in shape]


def pagination(page):
    """A paginator, with what may be one name or several always as several."""
    def many(value):
        return value if isinstance(value, list) else [value]

    result = {
        "inputTokens": many(page["input_token"]),
        "outputTokens": many(page["output_token"]),
        "resultKeys": many(page.get("result_key", [])),
    }
    if "more_results" in page:
        result["moreResults"] = page["more_results"]
    if "limit_key" in page:
        result["limitKey"] = page["limit_key"]
    return result


def plain_pagination(wire):
    """The paginator of an operation that botocore forgot to give one, else None.

    Hundreds of list operations take and return one and the same token. Without a paginator their
    first page would pass for everything there is.
    """
    if wire.input_shape is None or wire.output_shape is None:
        return None
    taken, told = wire.input_shape.members, wire.output_shape.members
    for token in ("NextToken", "nextToken", "NextPageToken", "nextPageToken"):
        if all(token in members and members[token].type_name == "string" for members in (taken, told)):
            lists = sorted(member for member, shape in told.items() if shape.type_name == "list")
            return {"input_token": token, "output_token": token, "result_key": lists}
    return None


def compact_service(name, raw, pages, is_read=READ.match):
    """The compact form of one service but for its endpoints, or None when it has no read operation."""
    model = ServiceModel(raw, name)
    shapes, inputs, outputs, operations = raw["shapes"], set(), set(), {}
    for operation, description in raw["operations"].items():
        if not is_read(operation):
            continue
        wire = model.operation_model(operation)
        if wire.has_event_stream_input or wire.has_event_stream_output:
            continue
        http = description.get("http", {})
        entry = {"method": http.get("method", "POST"), "uri": http.get("requestUri", "/")}
        if "input" in description:
            entry["input"] = {"shape": description["input"]["shape"], **traits(description["input"])}
            reach(shapes, description["input"]["shape"], inputs)
        if "output" in description:
            entry["output"] = {"shape": description["output"]["shape"], **traits(description["output"])}
            if "resultWrapper" in description["output"]:
                entry["resultWrapper"] = description["output"]["resultWrapper"]
            reach(shapes, description["output"]["shape"], outputs)
        if description.get("endpoint", {}).get("hostPrefix"):
            entry["hostPrefix"] = description["endpoint"]["hostPrefix"]
        if wire.resolved_auth_type == "none":
            entry["unsigned"] = True
        page = pages.get(operation) or plain_pagination(wire)
        if page:
            entry["pagination"] = pagination(page)
        operations[operation] = entry
    if not operations:
        return None

    metadata = raw["metadata"]
    protocol = model.resolved_protocol
    compact = {
        "apiVersion": metadata["apiVersion"],
        "endpointPrefix": metadata["endpointPrefix"],
        "protocol": protocol,
        "signingName": model.signing_name,
        "operations": operations,
        "shapes": {
            shape: compact_shape(name, shape, shapes[shape], shape in inputs) for shape in inputs | outputs
        },
    }
    if protocol == "json":
        compact["jsonVersion"] = metadata["jsonVersion"]
    if "targetPrefix" in metadata:
        compact["targetPrefix"] = metadata["targetPrefix"]
    if model.is_query_compatible:
        compact["queryCompatible"] = True
    if name in HEADERS:
        compact["headers"] = HEADERS[name]
    return compact


# --- Endpoints -----------------------------------------------------------------------------------

# With an invented region of each: it shows what a region gets that botocore does not know yet.
PARTITIONS = {
    "aws": "us-berth-1",
    "aws-cn": "cn-berth-1",
    "aws-eusc": "eusc-de-berth-1",
    "aws-iso": "us-iso-berth-1",
    "aws-iso-b": "us-isob-berth-1",
    "aws-iso-e": "eu-isoe-berth-1",
    "aws-iso-f": "us-isof-berth-1",
    "aws-us-gov": "us-gov-berth-1",
}
# Some of S3's rules need a bucket; what they then say about the host holds for each bucket.
BUCKET = "berth-bucket"
VARIANTS = {"plain": (False, False), "fips": (True, False), "dual": (False, True), "fipsDual": (True, True)}


def evaluate(provider, region, fips, dual, static):
    """(URL, signing region, signing name or ""), or None where there is no endpoint."""
    builtins = {
        "AWS::Region": region,
        "AWS::UseFIPS": fips,
        "AWS::UseDualStack": dual,
        "AWS::STS::UseGlobalEndpoint": False,
        "AWS::S3::UseGlobalEndpoint": False,
        "AWS::S3::ForcePathStyle": True,
    }
    parameters = {
        name: builtins[definition.builtin]
        for name, definition in provider.ruleset.parameters.items()
        if definition.builtin in builtins
    } | static
    try:
        endpoint = provider.resolve_endpoint(**parameters)
    except EndpointProviderError:
        return None
    schemes = [scheme for scheme in endpoint.properties.get("authSchemes", []) if scheme["name"].startswith("sigv4")]
    scheme = next((scheme for scheme in schemes if scheme["name"] == "sigv4"), {})
    return endpoint.url.removesuffix(f"/{BUCKET}"), scheme.get("signingRegion", region), scheme.get("signingName", "")


def template(found, region):
    """What `evaluate` found, with `{region}` for the region: a row that fits other regions, too."""
    if found is None:
        return None
    url, signing_region, signing_name = found
    return [
        re.sub(rf"(?<=[./-]){region}(?=\.)", "{region}", url),
        "" if signing_region == region else signing_region,
        signing_name,
    ]


def fits(row, region, found):
    """Whether the row gives for this region what was found for it."""
    if row is None or found is None:
        return row is None and found is None
    return (row[0].replace("{region}", region), row[1] or region, row[2]) == found


def static_parameters(description):
    """What an operation always tells the endpoint rules (`ServiceType` = `ACM-ACME`)."""
    return {
        name: value["value"]
        for name, value in description.get("staticContextParams", {}).items()
        # Where the rules would put the account before the host, the operation's own host prefix does.
        if name != "RequiresAccountId"
    }


def endpoint_table(loader, provider, static):
    """Rows by partition and variant: one for most regions, and those that do not fit it."""
    data = loader.load_data("partitions")
    classic = {p["partition"]: p for p in loader.load_data("endpoints")["partitions"]}
    table = {}
    for description in data["partitions"]:
        partition = description["id"]
        if partition not in PARTITIONS:
            continue
        regions = {region for region in description["regions"] if "global" not in region}
        regions |= set(classic[partition]["regions"])
        unknown = PARTITIONS[partition]
        for variant, (fips, dual) in VARIANTS.items():
            found = {region: evaluate(provider, region, fips, dual, static) for region in sorted(regions)}
            default = template(evaluate(provider, unknown, fips, dual, static), unknown)
            exceptions = {
                region: template(value, region) for region, value in found.items() if not fits(default, region, value)
            }
            entry = {"default": default, "regions": exceptions} if exceptions else {"default": default}
            table.setdefault(partition, {})[variant] = entry
    return table


def endpoints(loader, name, operations):
    """The service's endpoint tables. The first serves every operation that does not name another
    by its number in `endpoint`."""
    provider = EndpointProvider(
        loader.load_service_model(name, "endpoint-rule-set-1"), loader.load_data("partitions")
    )
    raw = loader.load_service_model(name, "service-2")
    groups = {}
    for operation in operations:
        static = static_parameters(raw["operations"][operation])
        if name == "s3" and "Bucket" in raw["shapes"][operations[operation]["input"]["shape"]]["members"]:
            static["Bucket"] = BUCKET
        groups.setdefault(json.dumps(static, sort_keys=True), []).append(operation)
    tables = []
    for static, members in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        table = endpoint_table(loader, provider, json.loads(static))
        if table not in tables:
            tables.append(table)
        if table != tables[0]:
            for operation in members:
                operations[operation]["endpoint"] = tables.index(table)
    return tables


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if botocore.__version__ != PINNED:
        sys.exit(f"botocore {PINNED} is pinned, but {botocore.__version__} is installed")
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    # No session of the user's: neither ~/.aws/models nor AWS_DATA_PATH may change the tables.
    loader = botocore.loaders.Loader(include_default_search_paths=False)
    loader.search_paths.append(loader.BUILTIN_DATA_PATH)
    count = Counter()
    for name in sorted(loader.list_available_services("service-2")):
        try:
            pages = loader.load_service_model(name, "paginators-1")["pagination"]
        except botocore.exceptions.UnknownServiceError:
            pages = {}
        compact = compact_service(name, loader.load_service_model(name, "service-2"), pages)
        if compact is None:
            continue
        compact["endpoints"] = endpoints(loader, name, compact["operations"])
        compact["operations"] = dict(sorted(compact["operations"].items()))
        compact["shapes"] = dict(sorted(compact["shapes"].items()))
        text = json.dumps(dict(sorted(compact.items())), separators=(",", ":"), ensure_ascii=False)
        (out / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")
        count["services"] += 1
        count["operations"] += len(compact["operations"])
        count["paginated"] += sum("pagination" in operation for operation in compact["operations"].values())
        count[f"protocol {compact['protocol']}"] += 1
    print(", ".join(f"{key} {value}" for key, value in count.items()))


if __name__ == "__main__":
    main()
