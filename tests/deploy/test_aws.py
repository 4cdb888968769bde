"""CloudFormation and Terraform: what they make of an account is the same, is what `berth policy`
prints, and is what AWS's own schemas allow."""

import json
import shutil
import subprocess
import urllib.parse

import boto3
import hcl2
import pytest
import yaml
from cfnlint import api
from cfnlint.config import ManualArgs
from cfnlint.decode import cfn_yaml
from conftest import EXAMPLES, TOP, is_expected
from moto import mock_aws
from policies import FILES, LONGEST, TEMPLATE, compact, files_with, parts, template_with

EVENTS_TEMPLATE = TOP / "examples/guides/live-events.yaml"
USER_TEMPLATE = EXAMPLES / "cloudformation/base-user.yaml"
TERRAFORM = EXAMPLES / "terraform"
TEMPLATES = [TEMPLATE, USER_TEMPLATE, EVENTS_TEMPLATE]
PRINCIPAL = "arn:aws:iam::999999999999:user/berth"
ROLES = ["arn:aws:iam::*:role/PortOceanReadRole", "arn:aws:iam::111111111111:role/Other"]
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": PRINCIPAL},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "external-id"}},
        }
    ],
}


def statements(documents: list[dict]) -> list[dict]:
    return [statement for document in documents for statement in document["Statement"]]


def test_the_policy_is_what_berth_prints(read_policy):
    is_expected(TEMPLATE, template_with(read_policy))
    written = files_with(read_policy)
    for name, text in written.items():
        is_expected(FILES / name, text)
    assert {file.name for file in FILES.glob("*.json")} == set(written)


def test_a_long_policy_becomes_several_that_lose_nothing(read_policy):
    many = read_policy | {"Statement": read_policy["Statement"] * 4}
    found = parts(many)
    assert statements(found) == many["Statement"]
    assert len(found) > 2 and all(len(compact(part)) <= LONGEST for part in found)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda file: file.stem)
def test_cfn_lint_has_nothing_to_say(template):
    config = ManualArgs(regions=["us-east-1", "eu-west-1"], include_checks=["I"])
    found = api.lint(template.read_text(), config=config)
    assert [f"{one.rule.id} line {one.linenumber}: {one.message}" for one in found] == []


def test_cfn_lint_would_find_an_action_that_is_none(read_policy):
    # Else the test above would say nothing of the policy.
    text = TEMPLATE.read_text().replace("s3:ListAllMyBuckets", "s3:ListAllMyBaskets")
    found = api.lint(text, config=ManualArgs(regions=["us-east-1"]))
    assert any("listallmybaskets" in one.message.lower() for one in found)


def parsed(document) -> dict:
    """A policy document: IAM's API quotes it, boto3 mostly parses it."""
    return document if isinstance(document, dict) else json.loads(urllib.parse.unquote(document))


class Account:
    """One account on moto, with a stack in it."""

    def __init__(self, template, parameters: dict[str, str]) -> None:
        session = boto3.Session("testing", "testing", region_name="us-east-1")
        self.iam = session.client("iam")
        cloudformation = session.client("cloudformation")
        cloudformation.create_stack(
            StackName="berth",
            TemplateBody=template.read_text(),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        outputs = cloudformation.describe_stacks(StackName="berth")["Stacks"][0].get("Outputs", [])
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in outputs}

    def trust(self, role: str) -> dict:
        return parsed(self.iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"])

    def attached(self, role: str) -> list[dict]:
        found = []
        for policy in self.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
            arn = policy["PolicyArn"]
            version = self.iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            found.append(self.iam.get_policy_version(PolicyArn=arn, VersionId=version))
        return [one["PolicyVersion"]["Document"] for one in found]

    def inline(self, role: str) -> list[dict]:
        names = self.iam.list_role_policies(RoleName=role)["PolicyNames"]
        found = [self.iam.get_role_policy(RoleName=role, PolicyName=name) for name in names]
        return [parsed(one["PolicyDocument"]) for one in found]


@pytest.fixture
def member():
    def make(**parameters: str) -> Account:
        principal = {"TrustedPrincipalARN": PRINCIPAL, "ExternalId": "external-id"}
        return Account(TEMPLATE, principal | parameters)

    with mock_aws():
        yield make


def test_the_stack_makes_the_role(member, read_policy):
    account = member(RoleName="Reader", Permissions="LeastPrivilege")
    assert account.outputs == {"RoleArn": "arn:aws:iam::123456789012:role/Reader"}
    assert account.trust("Reader") == TRUST
    assert sorted(map(compact, statements(account.attached("Reader")))) == sorted(
        map(compact, read_policy["Statement"])
    )
    assert account.inline("Reader") == []


def test_the_management_account_may_be_asked_for_the_others(member):
    account = member(ManagementAccount="true")
    [finds] = account.inline("PortOceanReadRole")
    assert finds["Statement"][0]["Action"][0] == "organizations:ListAccounts"
    # moto attaches no `ManagedPolicyArns`, so the template is looked at.
    role = cfn_yaml.load(str(TEMPLATE))["Resources"]["Role"]["Properties"]
    assert role["ManagedPolicyArns"]["Fn::If"][1] == [
        {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/ReadOnlyAccess"}
    ]


@mock_aws
def test_the_user_may_assume_the_roles_and_nothing_else(berth):
    account = Account(USER_TEMPLATE, {"RoleArns": ",".join(ROLES)})
    assert account.outputs == {"UserArn": "arn:aws:iam::123456789012:user/berth"}
    assert account.iam.list_attached_user_policies(UserName="berth")["AttachedPolicies"] == []
    [name] = account.iam.list_user_policies(UserName="berth")["PolicyNames"]
    document = account.iam.get_user_policy(UserName="berth", PolicyName=name)["PolicyDocument"]
    # The binary takes no wildcard: a pattern is no role that it could assume.
    printed = json.loads(berth("policy", "--base", ROLES[1]))
    assert document["Statement"] == [printed["Statement"][0] | {"Resource": ROLES}]
    assert account.iam.list_access_keys(UserName="berth")["AccessKeyMetadata"] == []


@mock_aws
def test_an_access_key_is_kept_under_the_names_of_the_variables():
    # moto makes no secret of the template, so that one is looked at.
    account = Account(USER_TEMPLATE, {"RoleArns": ROLES[0], "CreateAccessKey": "true"})
    assert len(account.iam.list_access_keys(UserName="berth")["AccessKeyMetadata"]) == 1
    secret = cfn_yaml.load(str(USER_TEMPLATE))["Resources"]["AccessKeySecret"]["Properties"]
    assert json.loads(secret["SecretString"]["Fn::Sub"]) == {
        "OCEAN__INTEGRATION__CONFIG__AWS_ACCESS_KEY_ID": "${AccessKey}",
        "OCEAN__INTEGRATION__CONFIG__AWS_SECRET_ACCESS_KEY": "${AccessKey.SecretAccessKey}",
    }


def test_trust_is_what_berth_prints(berth):
    arguments = ["--trust", "--principal", PRINCIPAL, "--external-id", "external-id"]
    assert json.loads(berth("policy", *arguments)) == TRUST


def blocks(module: str, kind: str) -> dict[str, dict]:
    """The blocks of one kind in a module, by name (resources by type and name)."""
    found = {}
    for file in (TERRAFORM / module).glob("*.tf"):
        for block in hcl2.loads(file.read_text()).get(kind, []):
            [(name, body)] = [(key, value) for key, value in block.items() if not key.startswith("__")]
            name = name.strip('"')
            if kind == "resource":
                [(inner, body)] = [(k, v) for k, v in body.items() if not k.startswith("__")]
                name = f"{name}.{inner.strip(chr(34))}"
            found[name] = body
    return found


def snake(name: str) -> str:
    name = name.replace("ARN", "Arn")
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


@pytest.mark.parametrize(
    "module, template, more",
    [("member-role", TEMPLATE, {"partition"}), ("base-user", USER_TEMPLATE, set())],
)
def test_terraform_has_the_parameters_of_the_template(module, template, more):
    parameters = cfn_yaml.load(str(template))["Parameters"]
    variables = blocks(module, "variable")
    assert set(variables) == {snake(name) for name in parameters} | more
    for name, parameter in parameters.items():
        default = variables[snake(name)].get("default")
        told = default.strip('"') if isinstance(default, str) else default
        assert str(told).lower() == str(parameter.get("Default")).lower(), name


def test_terraform_makes_what_the_templates_make():
    assert set(blocks("member-role", "resource")) == {
        "aws_iam_role.berth",
        "aws_iam_role_policy.inline",
        "aws_iam_policy.read",
        "aws_iam_role_policy_attachment.managed",
        "aws_iam_role_policy_attachment.read",
    }
    assert set(blocks("base-user", "resource")) == {
        "aws_iam_user.berth",
        "aws_iam_user_policy.inline",
        "aws_iam_access_key.berth",
        "aws_secretsmanager_secret.access_key",
        "aws_secretsmanager_secret_version.access_key",
    }


@pytest.fixture(scope="session")
def terraform():
    """Runs Terraform or OpenTofu, whichever is installed."""
    program = shutil.which("tofu") or shutil.which("terraform")
    if not program:
        pytest.skip("neither tofu nor terraform is installed; the modules are only parsed")

    def run(*arguments, **more) -> str:
        environment = {"PATH": "", "TF_CLI_CONFIG_FILE": "", "CHECKPOINT_DISABLE": "1"}
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, env=environment, **more
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_terraform_is_formatted(terraform):
    terraform("fmt", "-check", "-diff", "-recursive", str(TERRAFORM))


@pytest.fixture
def documents(terraform, tmp_path):
    """What a module's locals say: without its resources, Terraform needs no provider."""

    def evaluate(module: str, names: list[str], values: dict) -> dict:
        folder = tmp_path / "module"
        shutil.copytree(TERRAFORM / module, folder)
        for name in ["main.tf", "outputs.tf", "versions.tf"]:
            (folder / name).unlink()
        outputs = {name: {"value": f"${{local.{name}}}", "sensitive": True} for name in names}
        (folder / "outputs.tf.json").write_text(json.dumps({"output": outputs}))
        (folder / "terraform.tfvars.json").write_text(json.dumps(values))
        terraform("init", "-input=false", cwd=folder)
        terraform("apply", "-input=false", "-auto-approve", cwd=folder)
        found = json.loads(terraform("output", "-json", cwd=folder))
        return {name: found[name]["value"] for name in names}

    return evaluate


def test_terraform_gives_the_documents_of_the_template(documents, member, read_policy):
    account = member(Permissions="LeastPrivilege", ManagementAccount="true")
    values = {
        "trusted_principal_arn": PRINCIPAL,
        "external_id": "external-id",
        "permissions": "LeastPrivilege",
        "management_account": True,
    }
    names = ["trust_policy", "read_policies", "inline_policies", "managed_policy_arns"]
    found = documents("member-role", names, values)
    assert found["trust_policy"] == account.trust("PortOceanReadRole") == TRUST
    assert found["managed_policy_arns"] == []
    assert statements(found["read_policies"].values()) == read_policy["Statement"]
    assert list(found["inline_policies"].values()) == account.inline("PortOceanReadRole")


def test_terraform_may_leave_it_to_read_only_access(documents):
    values = {"trusted_principal_arn": PRINCIPAL, "external_id": "external-id"}
    names = ["read_policies", "inline_policies", "managed_policy_arns"]
    assert documents("member-role", names, values) == {
        "read_policies": {},
        "inline_policies": {},
        "managed_policy_arns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
    }


def test_terraform_gives_the_users_policy(documents, berth):
    found = documents("base-user", ["inline_policies"], {"role_arns": [ROLES[1]]})
    assert found["inline_policies"] == {
        "AssumeMemberRoles": json.loads(berth("policy", "--base", ROLES[1]))
    }
