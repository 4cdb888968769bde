"""The least-privilege policy in the templates: written from what `berth policy` prints."""

import json

import yaml
from conftest import EXAMPLES

TEMPLATE = EXAMPLES / "cloudformation/member-role.yaml"
FILES = EXAMPLES / "terraform/member-role/policies"
BEGIN, END = "  # berth policy: begin\n", "  # berth policy: end\n"

# IAM's limit for a managed policy is 6144 characters without white space.
LONGEST = 6144


def compact(document: dict) -> str:
    return json.dumps(document, separators=(",", ":"))


def parts(policy: dict) -> list[dict]:
    """The policy as several that IAM takes, its statements in order."""
    found = [policy | {"Statement": []}]
    for statement in policy["Statement"]:
        longer = found[-1] | {"Statement": [*found[-1]["Statement"], statement]}
        if len(compact(longer)) <= LONGEST:
            found[-1] = longer
        else:
            found.append(policy | {"Statement": [statement]})
    return found


def template_with(policy: dict) -> str:
    """The template, with the policy between its marks."""
    resources = {
        f"ReadPolicy{number}": {
            "Type": "AWS::IAM::ManagedPolicy",
            "Condition": "LeastPrivilege",
            "Properties": {
                "Description": "What Berth's bundled plugins read.",
                "Roles": [{"Ref": "Role"}],
                "PolicyDocument": part,
            },
        }
        for number, part in enumerate(parts(policy), 1)
    }
    text = yaml.safe_dump(resources, sort_keys=False)
    text = "".join(f"  {line}\n" for line in text.splitlines())
    head, rest = TEMPLATE.read_text().split(BEGIN)
    return head + BEGIN + text + END + rest.split(END)[1]


def files_with(policy: dict) -> dict[str, str]:
    """Terraform's files."""
    return {
        f"read-{number}.json": json.dumps(part, indent=2) + "\n"
        for number, part in enumerate(parts(policy), 1)
    }
