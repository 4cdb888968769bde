"""Fills AWS (moto) for the tests and the demo, and tells what a sync must make of it.

Every account is entered as Berth enters it: by assuming its role. What is expected is computed
from what boto3 answers, so it shares no code with the host and its plugins.
"""

import argparse
import json
import os
import sys
from datetime import datetime, timezone

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::{account}:role/PortOceanReadRole"
TEAMS = ["payments", "search", "platform"]


class Account:
    """One account, entered through its role."""

    def __init__(self, endpoint: str, account: str) -> None:
        self.id = account
        self._endpoint = endpoint
        sts = boto3.client(
            "sts",
            region_name="us-east-1",
            endpoint_url=endpoint,
            aws_access_key_id="AKIASEEDSEEDSEEDSEED",
            aws_secret_access_key="seed",
        )
        answer = sts.assume_role(RoleArn=ROLE.format(account=account), RoleSessionName="seed")
        keys = answer["Credentials"]
        self._session = boto3.Session(
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )

    def client(self, service: str, region: str = "us-east-1"):
        config = Config(s3={"addressing_style": "path"}, retries={"mode": "standard"})
        return self._session.client(
            service, region_name=region, endpoint_url=self._endpoint, config=config
        )


def tags(account: str, region: str, number: int) -> list[dict]:
    return [
        {"Key": "Name", "Value": f"{region}-{number}"},
        {"Key": "team", "Value": TEAMS[number % len(TEAMS)]},
        {"Key": "owner-account", "Value": account},
    ]


def seed(account: Account, regions: list[str], count: argparse.Namespace) -> None:
    for region in regions:
        s3 = account.client("s3", region)
        held = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
        for number in range(count.buckets):
            bucket = f"berth-{account.id}-{region}-{number}"
            if bucket in held:
                continue
            where = {}
            if region != "us-east-1":
                where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
            s3.create_bucket(Bucket=bucket, **where)
            # One bucket without tags: its answer is an error (NoSuchTagSet), not an empty list.
            if number > 0 or region != "us-east-1":
                s3.put_bucket_tagging(
                    Bucket=bucket, Tagging={"TagSet": tags(account.id, region, number)}
                )
        ec2 = account.client("ec2", region)
        for number in range(count.instances):
            ec2.run_instances(
                ImageId="ami-12c6146b",
                InstanceType=["t3.micro", "m5.large"][number % 2],
                MinCount=1,
                MaxCount=1,
                TagSpecifications=[
                    {"ResourceType": "instance", "Tags": tags(account.id, region, number)}
                ],
            )
        ecs = account.client("ecs", region)
        for number in range(count.clusters):
            lower = [
                {"key": tag["Key"], "value": tag["Value"]}
                for tag in tags(account.id, region, number)
            ]
            if count.secret:
                lower.append({"key": "db-password", "value": count.secret})
            ecs.create_cluster(clusterName=f"cluster-{number}", tags=lower)


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC: no fraction when it is zero, else six digits."""
    moment = moment.astimezone(timezone.utc)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if moment.microsecond:
        text += f".{moment.microsecond:06d}"
    return text + "Z"


def entity(blueprint: str, identifier: str, title: str, properties: dict, account: str) -> dict:
    return {
        "blueprint": blueprint,
        "identifier": identifier,
        "title": title,
        "properties": {name: value for name, value in properties.items() if value is not None},
        "relations": {"account": account},
    }


def expected(account: Account, regions: list[str]) -> list[dict]:
    """The entities that the default mapping makes of one account."""
    found = [
        {
            "blueprint": "awsAccount",
            "identifier": account.id,
            "title": f"Account {account.id}",
            "properties": {},
            "relations": {},
        }
    ]
    s3 = account.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        try:
            bucket_tags = s3.get_bucket_tagging(Bucket=bucket["Name"])["TagSet"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchTagSet":
                raise
            bucket_tags = []
        arn = f"arn:aws:s3:::{bucket['Name']}"
        properties = {"arn": arn, "creationDate": iso(bucket["CreationDate"]), "tags": bucket_tags}
        found.append(entity("s3Bucket", arn, bucket["Name"], properties, account.id))
    for region in regions:
        ec2 = account.client("ec2", region)
        for page in ec2.get_paginator("describe_instances").paginate():
            for instance in (i for r in page["Reservations"] for i in r["Instances"]):
                name = instance["InstanceId"]
                properties = {
                    "instanceType": instance["InstanceType"],
                    "state": instance["State"]["Name"],
                    "publicIpAddress": instance.get("PublicIpAddress"),
                    "privateIpAddress": instance.get("PrivateIpAddress"),
                    "tags": instance.get("Tags"),
                    "arn": f"arn:aws:ec2:{region}:{account.id}:instance/{name}",
                }
                found.append(entity("ec2Instance", name, name, properties, account.id))
        ecs = account.client("ecs", region)
        arns = [a for p in ecs.get_paginator("list_clusters").paginate() for a in p["clusterArns"]]
        include = ["TAGS", "ATTACHMENTS", "SETTINGS", "CONFIGURATIONS", "STATISTICS"]
        clusters = ecs.describe_clusters(clusters=arns, include=include)["clusters"] if arns else []
        for cluster in clusters:
            names = {
                "status",
                "runningTasksCount",
                "activeServicesCount",
                "pendingTasksCount",
                "registeredContainerInstancesCount",
                "capacityProviders",
                "clusterArn",
                "tags",
            }
            properties = {name: cluster.get(name) for name in names}
            found.append(
                entity(
                    "ecsCluster", cluster["clusterArn"], cluster["clusterName"], properties, account.id
                )
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--accounts", required=True, type=lambda text: text.split(","))
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--regions", default="us-east-1,eu-west-1", type=lambda text: text.split(",")
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fill = commands.add_parser("seed", parents=[where])
    fill.add_argument("--buckets", type=int, default=2)
    fill.add_argument("--instances", type=int, default=2)
    fill.add_argument("--clusters", type=int, default=1)
    fill.add_argument("--secret", default="", help="the value of a tag of every cluster")
    commands.add_parser("expected", parents=[where])
    commands.add_parser("delete-bucket").add_argument("bucket")
    arguments = parser.parse_args()

    # Nothing of the machine's own AWS set-up may reach the stand-in.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    accounts = [Account(arguments.endpoint, account) for account in arguments.accounts]
    if arguments.command == "seed":
        for account in accounts:
            seed(account, arguments.regions, arguments)
    elif arguments.command == "expected":
        everything = [e for account in accounts for e in expected(account, arguments.regions)]
        json.dump(everything, sys.stdout)
    else:
        for account in accounts:
            account.client("s3").delete_bucket(Bucket=arguments.bucket)


if __name__ == "__main__":
    main()
