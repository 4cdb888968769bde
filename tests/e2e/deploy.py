"""Deploys the CloudFormation templates of the examples onto moto, and tells what came of it.

`up` makes the roles (a StackSet over the accounts) and the user (in an account of its own), and
prints what the user is and which roles it may assume from where. `enforce` lets moto check every
signature and every permission from then on.
"""

import argparse
import json
import os
import sys
import urllib.request
from fnmatch import fnmatchcase
from pathlib import Path

import boto3

from seed import Account

TEMPLATES = Path(__file__).parents[2] / "examples/deploy/cloudformation"
BASE = "999999999999"
ROLE, USER, EXTERNAL_ID = "BerthReader", "berth-base", "external-id-of-the-stack"


def parameters(**values: str) -> list[dict]:
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]


def member_roles(cloudformation, accounts: list[str], permissions: str) -> None:
    cloudformation.create_stack_set(
        StackSetName="berth",
        TemplateBody=(TEMPLATES / "member-role.yaml").read_text(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        PermissionModel="SELF_MANAGED",
        Parameters=parameters(
            RoleName=ROLE,
            TrustedPrincipalARN=f"arn:aws:iam::{BASE}:user/{USER}",
            ExternalId=EXTERNAL_ID,
            Permissions=permissions,
        ),
    )
    cloudformation.create_stack_instances(
        StackSetName="berth", Accounts=accounts, Regions=["us-east-1"]
    )


def base_user(cloudformation, iam) -> dict:
    """The user's access key, and the roles that its policy names."""
    cloudformation.create_stack(
        StackName="berth",
        TemplateBody=(TEMPLATES / "base-user.yaml").read_text(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=parameters(UserName=USER, RoleArns=f"arn:aws:iam::*:role/{ROLE}"),
    )
    [name] = iam.list_user_policies(UserName=USER)["PolicyNames"]
    document = iam.get_user_policy(UserName=USER, PolicyName=name)["PolicyDocument"]
    [statement] = document["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole"), statement
    # moto takes every role for `*` here, which no policy that names its roles allows. The gate in
    # front of it looks at the roles instead.
    iam.put_user_policy(
        UserName=USER,
        PolicyName="for-moto",
        PolicyDocument=json.dumps(document | {"Statement": [statement | {"Resource": "*"}]}),
    )
    key = iam.create_access_key(UserName=USER)["AccessKey"]
    return {
        "access_key_id": key["AccessKeyId"],
        "secret_access_key": key["SecretAccessKey"],
        "may_assume": statement["Resource"],
    }


def trusted(endpoint: str, account: str, patterns: list[str]) -> dict | None:
    """A role as its account has it: whom it trusts, with which external ID."""
    # Entered by another role, which moto does not ask for.
    iam = Account(endpoint, account).client("iam")
    role = iam.get_role(RoleName=ROLE)["Role"]
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"]["AWS"] == f"arn:aws:iam::{BASE}:user/{USER}", statement
    if not any(fnmatchcase(role["Arn"], pattern) for pattern in patterns):
        return None
    return {
        "arn": role["Arn"],
        "external_id": statement["Condition"]["StringEquals"]["sts:ExternalId"],
    }


def up(endpoint: str, accounts: list[str], permissions: str) -> dict:
    base = Account(endpoint, BASE)
    cloudformation = base.client("cloudformation")
    member_roles(cloudformation, accounts, permissions)
    user = base_user(cloudformation, base.client("iam"))
    patterns = user.pop("may_assume")
    roles = [trusted(endpoint, account, patterns) for account in accounts]
    return user | {"roles": [role for role in roles if role]}


def enforce(endpoint: str) -> None:
    # As a form, which is urllib's default, moto would see no number.
    request = urllib.request.Request(
        f"{endpoint}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(request).read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--accounts", required=True, type=lambda text: text.split(","))
    parser.add_argument("--permissions", default="LeastPrivilege")
    parser.add_argument("command", choices=["up", "enforce"])
    arguments = parser.parse_args()

    # Nothing of the machine's own AWS set-up may reach the stand-in.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    if arguments.command == "up":
        json.dump(up(arguments.endpoint, arguments.accounts, arguments.permissions), sys.stdout)
    else:
        enforce(arguments.endpoint)


if __name__ == "__main__":
    main()
