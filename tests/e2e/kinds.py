"""Fills AWS (moto) with resources of every kind, and tells what a sync must make of them.

Each kind has a function that seeds resources (`@seeds`) and one that reads them (`@reads`) and says
their identifier, title and document, computed from what boto3 answers: no code is shared with the
host and its plugins. Properties and relations come from the kind's default mapping, run by jq
itself over that document. Kinds that moto cannot seed are told in README.md beside this file.
"""

import argparse
import base64
import io
import json
import os
import sys
import zipfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import jq
from botocore.exceptions import ClientError

from seed import Account, iso

SEEDS = []
READS = {}


def seeds(function):
    """Runs once in each region of each account, in the order of this file."""
    SEEDS.append((False, function))
    return function


def seeds_account(function):
    """Runs once in each account."""
    SEEDS.append((True, function))
    return function


def reads(kind: str, scope: str = "regional"):
    def register(function):
        READS[kind] = (scope, function)
        return function

    return register


class Place:
    """A region of an account, with what is seeded there."""

    def __init__(self, account: Account, region: str) -> None:
        self._account = account
        self.account = account.id
        self.region = region
        self.made: dict = {}

    def client(self, service: str):
        return self._account.client(service, self.region)

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    @property
    def role(self) -> str:
        return f"arn:aws:iam::{self.account}:role/kinds"


@dataclass
class Found:
    """A resource as boto3 tells it."""

    identifier: str
    title: str
    properties: dict
    context: dict = field(default_factory=dict)
    creates: list[tuple[str, str]] = field(default_factory=list)
    """Blueprint and identifier of related entities that nothing maps: Port creates them, empty."""


def pages(client, operation: str, key: str, **arguments) -> list:
    """All items of a list operation."""
    if client.can_paginate(operation):
        answers = client.get_paginator(operation).paginate(**arguments)
    else:
        answers = [getattr(client, operation)(**arguments)]
    return [item for answer in answers for item in answer.get(key) or []]


def pascal(*parts: dict) -> dict:
    """The members with their first letters in upper case; later parts win."""
    return {name[0].upper() + name[1:]: value for part in parts for name, value in part.items()}


def plain(value):
    """A value of boto3 as JSON has it."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if name != "ResponseMetadata"}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def lax(value: str, numbers: set[str], booleans: set[str], name: str):
    """An attribute, which AWS sends as text, with its type."""
    if name in numbers:
        return int(value)
    if name in booleans:
        return value == "true"
    return value


def pairs(place: Place, name: str) -> list[dict]:
    return [{"Key": "Name", "Value": f"{name}-{place.region}"}, {"Key": "team", "Value": "search"}]


def named(tags: list[dict], otherwise: str) -> str:
    """The tag `Name`, as the EC2 console shows it."""
    return next((tag["Value"] for tag in tags or [] if tag["Key"] == "Name"), otherwise)


def error_code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


# IAM, first: others need its roles.


@seeds_account
def seed_iam(place: Place) -> None:
    iam = place.client("iam")
    # moto wants a statement of its own for each service.
    allowed = [
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        for service in ("ec2.amazonaws.com", "codepipeline.amazonaws.com")
    ]
    trust = {"Version": "2012-10-17", "Statement": allowed}
    iam.create_role(
        RoleName="kinds",
        AssumeRolePolicyDocument=json.dumps(trust),
        Description="Ünïcode",
        Tags=pairs(place, "role"),
    )
    iam.create_role(RoleName="bare", Path="/deep/er/", AssumeRolePolicyDocument=json.dumps(trust))
    iam.create_user(UserName="ada", Tags=pairs(place, "user"))
    iam.create_user(UserName="bob", Path="/people/")
    iam.create_group(GroupName="readers")
    iam.add_user_to_group(GroupName="readers", UserName="ada")
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}}
    policy = iam.create_policy(PolicyName="read", PolicyDocument=json.dumps(policy))["Policy"]["Arn"]
    iam.attach_user_policy(UserName="ada", PolicyArn=policy)
    iam.attach_role_policy(RoleName="kinds", PolicyArn=policy)


@reads("AWS::IAM::Role", "global")
def iam_roles(place: Place):
    iam = place.client("iam")
    for role in pages(iam, "list_roles", "Roles"):
        name = role["RoleName"]
        details = iam.get_role(RoleName=name)["Role"]
        policies = pages(iam, "list_attached_role_policies", "AttachedPolicies", RoleName=name)
        tags = pages(iam, "list_role_tags", "Tags", RoleName=name)
        more = {"AttachedManagedPolicies": policies, "Tags": tags}
        yield Found(role["Arn"], name, pascal(role, details, more))


@reads("AWS::IAM::User", "global")
def iam_users(place: Place):
    iam = place.client("iam")
    for user in pages(iam, "list_users", "Users"):
        name = user["UserName"]
        policies = pages(iam, "list_attached_user_policies", "AttachedPolicies", UserName=name)
        more = {
            "AttachedManagedPolicies": policies,
            "Groups": pages(iam, "list_groups_for_user", "Groups", UserName=name),
            "Tags": pages(iam, "list_user_tags", "Tags", UserName=name),
        }
        yield Found(user["Arn"], name, pascal(user, more))


# The account itself, S3


@reads("AWS::Account::Info", "account")
def accounts(place: Place):
    yield Found(
        place.account, f"Account {place.account}", {"Id": place.account, "Name": f"Account {place.account}"}
    )


@seeds
def seed_s3(place: Place) -> None:
    s3 = place.client("s3")
    where = {}
    if place.region != "us-east-1":
        where = {"CreateBucketConfiguration": {"LocationConstraint": place.region}}
    for name in ("tagged", "bare"):
        s3.create_bucket(Bucket=f"kinds-{place.account}-{place.region}-{name}", **where)
    s3.put_bucket_tagging(
        Bucket=f"kinds-{place.account}-{place.region}-tagged", Tagging={"TagSet": pairs(place, "bucket")}
    )


@reads("AWS::S3::Bucket", "global")
def s3_buckets(place: Place):
    s3 = place.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        try:
            tags = s3.get_bucket_tagging(Bucket=bucket["Name"])["TagSet"]
        except ClientError as error:
            if error_code(error) != "NoSuchTagSet":
                raise
            tags = []
        arn = f"arn:aws:s3:::{bucket['Name']}"
        properties = {
            "Arn": arn,
            "BucketName": bucket["Name"],
            "CreationDate": bucket["CreationDate"],
            "Tags": tags,
        }
        yield Found(arn, bucket["Name"], properties)


# EC2


@seeds
def seed_ec2(place: Place) -> None:
    ec2 = place.client("ec2")

    def tagged(resource: str) -> dict:
        return {"TagSpecifications": [{"ResourceType": resource, "Tags": pairs(place, resource)}]}

    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", **tagged("vpc"))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", **tagged("subnet"))["Subnet"]
    other = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.2.0/24", AvailabilityZone=f"{place.region}b")
    place.made["vpc"] = vpc
    place.made["subnets"] = [subnet["SubnetId"], other["Subnet"]["SubnetId"]]
    group = ec2.create_security_group(GroupName="web", Description="Web ✓", VpcId=vpc)["GroupId"]
    place.made["group"] = group
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 443,
                "ToPort": 443,
                "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}],
            }
        ],
    )
    gateway = ec2.create_internet_gateway(**tagged("internet-gateway"))["InternetGateway"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc)
    ec2.create_internet_gateway()
    table = ec2.create_route_table(VpcId=vpc, **tagged("route-table"))["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet["SubnetId"])
    ec2.create_route(
        RouteTableId=table,
        DestinationCidrBlock="0.0.0.0/0",
        GatewayId=gateway["InternetGatewayId"],
    )
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.create_nat_gateway(SubnetId=subnet["SubnetId"], AllocationId=address, **tagged("natgateway"))
    ec2.create_network_interface(
        SubnetId=subnet["SubnetId"], Groups=[group], Description="spare", **tagged("network-interface")
    )
    instance = ec2.run_instances(
        ImageId="ami-12c6146b",
        InstanceType="t3.micro",
        MinCount=2,
        MaxCount=2,
        SubnetId=subnet["SubnetId"],
        SecurityGroupIds=[group],
        **tagged("instance"),
    )["Instances"][0]["InstanceId"]
    volume = ec2.create_volume(
        AvailabilityZone=subnet["AvailabilityZone"],
        Size=20,
        VolumeType="gp3",
        Iops=3000,
        Encrypted=True,
        **tagged("volume"),
    )["VolumeId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    ec2.create_snapshot(VolumeId=volume, Description="weekly", **tagged("snapshot"))
    ec2.create_image(InstanceId=instance, Name="golden", Description="golden image")


def ec2_reader(kind: str, operation: str, key: str, name: str, arn: str | None, title=None):
    """A kind that is one describe call; `arn` is the resource type in the ARN that is built."""

    @reads(kind)
    def read(place: Place):
        for item in pages(place.client("ec2"), operation, key):
            properties = pascal(item)
            if arn:
                properties["Arn"] = place.arn("ec2", f"{arn}/{item[name]}")
            told = title(item) if title else named(item.get("Tags"), item[name])
            yield Found(item[name], told, properties)


ec2_reader("AWS::EC2::VPC", "describe_vpcs", "Vpcs", "VpcId", "vpc")
ec2_reader("AWS::EC2::Subnet", "describe_subnets", "Subnets", "SubnetId", None)
ec2_reader(
    "AWS::EC2::SecurityGroup",
    "describe_security_groups",
    "SecurityGroups",
    "GroupId",
    "security-group",
    title=lambda group: group["GroupName"],
)
ec2_reader("AWS::EC2::NatGateway", "describe_nat_gateways", "NatGateways", "NatGatewayId", "natgateway")
ec2_reader(
    "AWS::EC2::InternetGateway",
    "describe_internet_gateways",
    "InternetGateways",
    "InternetGatewayId",
    "internet-gateway",
)
ec2_reader("AWS::EC2::RouteTable", "describe_route_tables", "RouteTables", "RouteTableId", "route-table")
ec2_reader(
    "AWS::EC2::NetworkInterface",
    "describe_network_interfaces",
    "NetworkInterfaces",
    "NetworkInterfaceId",
    "network-interface",
    title=lambda interface: named(interface.get("TagSet"), interface["NetworkInterfaceId"]),
)
@reads("AWS::EC2::Image")
def ec2_images(place: Place):
    for image in pages(place.client("ec2"), "describe_images", "Images", Owners=["self"]):
        name = image["ImageId"]
        more = {
            "Arn": f"arn:aws:ec2:{place.region}::image/{name}",
            "CreationDate": datetime.fromisoformat(image["CreationDate"]),
        }
        yield Found(name, image["Name"], pascal(image, more))


@reads("AWS::EC2::Snapshot")
def ec2_snapshots(place: Place):
    for snapshot in pages(place.client("ec2"), "describe_snapshots", "Snapshots", OwnerIds=["self"]):
        # moto takes its images' snapshots for those of every account.
        if snapshot["OwnerId"] == place.account:
            name = snapshot["SnapshotId"]
            properties = pascal(snapshot, {"Arn": f"arn:aws:ec2:{place.region}::snapshot/{name}"})
            yield Found(name, named(snapshot.get("Tags"), name), properties)


@reads("AWS::EC2::Instance")
def ec2_instances(place: Place):
    for reservation in pages(place.client("ec2"), "describe_instances", "Reservations"):
        statuses = {
            status["InstanceId"]: status
            for status in pages(
                place.client("ec2"),
                "describe_instance_status",
                "InstanceStatuses",
                InstanceIds=[instance["InstanceId"] for instance in reservation["Instances"]],
                IncludeAllInstances=True,
            )
        }
        for instance in reservation["Instances"]:
            name = instance["InstanceId"]
            yield Found(name, name, pascal(instance, statuses.get(name, {})))


@reads("AWS::EC2::Volume")
def ec2_volumes(place: Place):
    ec2 = place.client("ec2")
    for volume in pages(ec2, "describe_volumes", "Volumes"):
        yield Found(volume["VolumeId"], volume["VolumeId"], pascal(volume))


@reads("AWS::EC2::VolumeAttachment")
def ec2_volume_attachments(place: Place):
    ec2 = place.client("ec2")
    for volume in pages(ec2, "describe_volumes", "Volumes"):
        for attachment in volume["Attachments"]:
            name = f"{volume['VolumeId']}/{attachment['InstanceId']}"
            yield Found(name, name, pascal(attachment))


# Containers


@seeds
def seed_containers(place: Place) -> None:
    ecs = place.client("ecs")
    tags = [{"key": "team", "value": "search"}]
    ecs.create_cluster(clusterName="main", tags=tags)
    ecs.create_cluster(clusterName="empty")
    container = {"name": "web", "image": "nginx:1", "memory": 128, "essential": True}
    task = ecs.register_task_definition(
        family="web",
        containerDefinitions=[container],
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn=place.role,
        tags=tags,
    )["taskDefinition"]["taskDefinitionArn"]
    for number in range(12):
        ecs.create_service(
            cluster="main",
            serviceName=f"web-{number}",
            taskDefinition=task,
            desiredCount=number,
            launchType="FARGATE",
            tags=tags,
        )
    ecr = place.client("ecr")
    ecr.create_repository(
        repositoryName="team/web",
        imageTagMutability="IMMUTABLE",
        imageScanningConfiguration={"scanOnPush": True},
        tags=[{"Key": "team", "Value": "search"}],
    )
    rules = [
        {
            "rulePriority": 1,
            "selection": {
                "tagStatus": "untagged",
                "countType": "imageCountMoreThan",
                "countNumber": 1,
            },
            "action": {"type": "expire"},
        }
    ]
    ecr.put_lifecycle_policy(
        repositoryName="team/web", lifecyclePolicyText=json.dumps({"rules": rules})
    )
    ecr.create_repository(repositoryName="bare")
    media = "application/vnd.docker.distribution.manifest.v2+json"
    for number, tags in enumerate([["1.0", "latest"], []]):
        manifest = {
            "schemaVersion": 2,
            "mediaType": media,
            "config": {"mediaType": media, "size": 7023, "digest": f"sha256:{number:064x}"},
            "layers": [{"mediaType": media, "size": 32654 + number, "digest": f"sha256:{number + 9:064x}"}],
        }
        for tag in tags or [None]:
            tagged_by = {"imageTag": tag} if tag else {}
            ecr.put_image(
                repositoryName="bare",
                imageManifest=json.dumps(manifest),
                imageManifestMediaType=media,
                **tagged_by,
            )
    eks = place.client("eks")
    eks.create_cluster(
        name="main",
        version="1.33",
        roleArn=place.role,
        resourcesVpcConfig={"subnetIds": place.made["subnets"]},
        tags={"team": "search"},
    )
    eks.create_nodegroup(
        clusterName="main",
        nodegroupName="workers",
        nodeRole=place.role,
        subnets=place.made["subnets"],
        scalingConfig={"minSize": 1, "maxSize": 3, "desiredSize": 2},
        instanceTypes=["m7g.large"],
        labels={"pool": "workers"},
        tags={"team": "search"},
    )


@reads("AWS::ECS::Cluster")
def ecs_clusters(place: Place):
    ecs = place.client("ecs")
    arns = pages(ecs, "list_clusters", "clusterArns")
    include = ["TAGS", "ATTACHMENTS", "SETTINGS", "CONFIGURATIONS", "STATISTICS"]
    for cluster in ecs.describe_clusters(clusters=arns, include=include)["clusters"]:
        yield Found(cluster["clusterArn"], cluster["clusterName"], pascal(cluster))


@reads("AWS::ECS::Service")
def ecs_services(place: Place):
    ecs = place.client("ecs")
    for cluster in pages(ecs, "list_clusters", "clusterArns"):
        for arn in pages(ecs, "list_services", "serviceArns", cluster=cluster):
            service = ecs.describe_services(cluster=cluster, services=[arn], include=["TAGS"])["services"][0]
            yield Found(
                arn, service["serviceName"], pascal(service, {"clusterArn": cluster}), {"ClusterArn": cluster}
            )


@reads("AWS::ECS::TaskDefinition")
def ecs_task_definitions(place: Place):
    ecs = place.client("ecs")
    for arn in pages(ecs, "list_task_definitions", "taskDefinitionArns", status="ACTIVE"):
        answer = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
        properties = pascal(answer["taskDefinition"], {"tags": answer.get("tags", [])})
        yield Found(arn, arn.rsplit("/", 1)[1], properties)


@reads("AWS::ECR::Repository")
def ecr_repositories(place: Place):
    ecr = place.client("ecr")
    for repository in pages(ecr, "describe_repositories", "repositories"):
        tags = ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
        yield Found(
            repository["repositoryArn"], repository["repositoryName"], pascal(repository, {"tags": tags})
        )


@reads("AWS::ECR::Image")
def ecr_images(place: Place):
    ecr = place.client("ecr")
    for repository in pages(ecr, "describe_repositories", "repositories"):
        arn, uri = repository["repositoryArn"], repository["repositoryUri"]
        for image in pages(ecr, "describe_images", "imageDetails", repositoryName=repository["repositoryName"]):
            digest = image["imageDigest"]
            title = (image.get("imageTags") or [digest])[0]
            of = {"repositoryArn": arn, "repositoryUri": uri}
            yield Found(f"{arn}@{digest}", title, pascal(image, of))


@reads("AWS::EKS::Cluster")
def eks_clusters(place: Place):
    eks = place.client("eks")
    for name in pages(eks, "list_clusters", "clusters"):
        cluster = eks.describe_cluster(name=name)["cluster"]
        yield Found(cluster["arn"], name, pascal(cluster))


@reads("AWS::EKS::Nodegroup")
def eks_nodegroups(place: Place):
    eks = place.client("eks")
    for cluster in pages(eks, "list_clusters", "clusters"):
        for name in pages(eks, "list_nodegroups", "nodegroups", clusterName=cluster):
            group = eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
            context = {"ClusterArn": place.arn("eks", f"cluster/{cluster}")}
            yield Found(group["nodegroupArn"], name, pascal(group), context)


# Databases and caches


@seeds
def seed_databases(place: Place) -> None:
    rds = place.client("rds")
    rds.create_db_instance(
        DBInstanceIdentifier="orders",
        Engine="postgres",
        DBInstanceClass="db.t4g.micro",
        AllocatedStorage=20,
        MasterUsername="admin1",
        MasterUserPassword="not-a-secret",
        Tags=pairs(place, "orders"),
    )
    rds.create_db_cluster(
        DBClusterIdentifier="ledger",
        Engine="aurora-postgresql",
        MasterUsername="admin1",
        MasterUserPassword="not-a-secret",
        DatabaseName="ledger",
        Tags=pairs(place, "ledger"),
    )
    place.client("elasticache").create_cache_cluster(
        CacheClusterId="sessions",
        Engine="redis",
        CacheNodeType="cache.t4g.micro",
        NumCacheNodes=1,
        Tags=pairs(place, "sessions"),
    )
    dynamodb = place.client("dynamodb")
    dynamodb.create_table(
        TableName="items",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=True,
        Tags=pairs(place, "items"),
    )
    place.client("redshift").create_cluster(
        ClusterIdentifier="warehouse",
        NodeType="ra3.large",
        MasterUsername="admin1",
        MasterUserPassword="Not1Secret",
        DBName="dwh",
        NumberOfNodes=2,
        Tags=pairs(place, "warehouse"),
    )


@reads("AWS::RDS::DBInstance")
def rds_instances(place: Place):
    rds = place.client("rds")
    for instance in pages(rds, "describe_db_instances", "DBInstances"):
        arn = instance["DBInstanceArn"]
        tags = rds.list_tags_for_resource(ResourceName=arn)["TagList"]
        yield Found(arn, instance["DBInstanceIdentifier"], pascal(instance, {"Tags": tags}))


@reads("AWS::RDS::DBCluster")
def rds_clusters(place: Place):
    rds = place.client("rds")
    for cluster in pages(rds, "describe_db_clusters", "DBClusters"):
        arn = cluster["DBClusterArn"]
        tags = rds.list_tags_for_resource(ResourceName=arn)["TagList"]
        yield Found(arn, cluster["DBClusterIdentifier"], pascal(cluster, {"TagList": tags}))


@reads("AWS::ElastiCache::Cluster")
def elasticache_clusters(place: Place):
    client = place.client("elasticache")
    for cluster in pages(client, "describe_cache_clusters", "CacheClusters", ShowCacheNodeInfo=True):
        tags = client.list_tags_for_resource(ResourceName=cluster["ARN"])["TagList"]
        yield Found(cluster["ARN"], cluster["CacheClusterId"], pascal(cluster, {"TagList": tags}))


@reads("AWS::DynamoDB::Table")
def dynamodb_tables(place: Place):
    client = place.client("dynamodb")
    for name in pages(client, "list_tables", "TableNames"):
        table = client.describe_table(TableName=name)["Table"]
        arn = place.arn("dynamodb", f"table/{name}")
        tags = pages(client, "list_tags_of_resource", "Tags", ResourceArn=arn)
        yield Found(arn, name, pascal(table, {"Tags": tags}))


@reads("AWS::Redshift::Cluster")
def redshift_clusters(place: Place):
    for cluster in pages(place.client("redshift"), "describe_clusters", "Clusters"):
        arn = place.arn("redshift", f"cluster:{cluster['ClusterIdentifier']}")
        yield Found(arn, cluster["ClusterIdentifier"], pascal(cluster, {"Arn": arn}))


# Functions, messages, streams


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("main.py", "def handler(event, context): pass\n")
    return file.getvalue()


@seeds
def seed_messages(place: Place) -> None:
    place.client("lambda").create_function(
        FunctionName="resize",
        Runtime="python3.13",
        Role=place.role,
        Handler="main.handler",
        Code={"ZipFile": archive()},
        Description="Resizes",
        Architectures=["arm64"],
        MemorySize=256,
        Tags={"team": "search"},
    )
    sqs = place.client("sqs")
    sqs.create_queue(QueueName="jobs", Attributes={"DelaySeconds": "5"}, tags={"team": "search"})
    sqs.create_queue(QueueName="jobs.fifo", Attributes={"FifoQueue": "true"})
    sns = place.client("sns")
    sns.create_topic(Name="alerts", Tags=pairs(place, "alerts"), Attributes={"DisplayName": "Alerts"})
    sns.create_topic(Name="alerts.fifo", Attributes={"FifoTopic": "true"})
    kinesis = place.client("kinesis")
    kinesis.create_stream(StreamName="clicks", ShardCount=2)
    kinesis.add_tags_to_stream(StreamName="clicks", Tags={"team": "search"})
    events = place.client("events")
    events.put_rule(
        Name="nightly",
        ScheduleExpression="rate(1 day)",
        State="ENABLED",
        Description="Nightly",
        Tags=pairs(place, "nightly"),
    )
    events.create_event_bus(Name="orders")
    events.put_rule(Name="placed", EventBusName="orders", EventPattern='{"source": ["orders"]}')
    machine = place.client("stepfunctions").create_state_machine(
        name="checkout",
        roleArn=place.role,
        definition=json.dumps({"StartAt": "a", "States": {"a": {"Type": "Succeed"}}}),
        tags=[{"key": "team", "value": "search"}],
    )["stateMachineArn"]
    targets = [
        {"Id": "machine", "Arn": machine, "RoleArn": place.role},
        {"Id": "queue", "Arn": place.arn("sqs", "jobs")},
    ]
    events.put_targets(Rule="nightly", Targets=targets)


@reads("AWS::Lambda::Function")
def lambda_functions(place: Place):
    client = place.client("lambda")
    for function in pages(client, "list_functions", "Functions"):
        tags = client.list_tags(Resource=function["FunctionArn"])["Tags"]
        yield Found(function["FunctionArn"], function["FunctionName"], pascal(function, {"Tags": tags}))


SQS_NUMBERS = {
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "VisibilityTimeout",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "DelaySeconds",
    "ReceiveMessageWaitTimeSeconds",
    "KmsDataKeyReusePeriodSeconds",
}
SQS_BOOLEANS = {"SqsManagedSseEnabled", "FifoQueue", "ContentBasedDeduplication"}


@reads("AWS::SQS::Queue")
def sqs_queues(place: Place):
    client = place.client("sqs")
    for url in pages(client, "list_queues", "QueueUrls"):
        attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        properties = {name: lax(value, SQS_NUMBERS, SQS_BOOLEANS, name) for name, value in attributes.items()}
        properties |= {"QueueUrl": url, "Tags": client.list_queue_tags(QueueUrl=url).get("Tags")}
        arn = place.arn("sqs", url.rsplit("/", 1)[1])
        yield Found(arn, url.rsplit("/", 1)[1], properties)


SNS_NUMBERS = {"SubscriptionsConfirmed", "SubscriptionsDeleted", "SubscriptionsPending"}
SNS_BOOLEANS = {"FifoTopic", "ContentBasedDeduplication"}


@reads("AWS::SNS::Topic")
def sns_topics(place: Place):
    client = place.client("sns")
    for arn in (topic["TopicArn"] for topic in pages(client, "list_topics", "Topics")):
        attributes = client.get_topic_attributes(TopicArn=arn)["Attributes"]
        properties = {name: lax(value, SNS_NUMBERS, SNS_BOOLEANS, name) for name, value in attributes.items()}
        properties |= {"TopicArn": arn, "Tags": client.list_tags_for_resource(ResourceArn=arn)["Tags"]}
        yield Found(arn, arn.rsplit(":", 1)[1], properties)


@reads("AWS::Kinesis::Stream")
def kinesis_streams(place: Place):
    client = place.client("kinesis")
    for name in pages(client, "list_streams", "StreamNames"):
        stream = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        tags = client.list_tags_for_stream(StreamName=name)["Tags"]
        yield Found(stream["StreamARN"], name, pascal(stream, {"Tags": tags}))


@reads("AWS::Events::Rule")
def event_rules(place: Place):
    client = place.client("events")
    for bus in pages(client, "list_event_buses", "EventBuses"):
        for rule in pages(client, "list_rules", "Rules", EventBusName=bus["Name"]):
            where = {"Rule": rule["Name"], "EventBusName": bus["Name"]}
            more = {
                "Targets": pages(client, "list_targets_by_rule", "Targets", **where),
                "Tags": client.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"],
            }
            yield Found(rule["Arn"], rule["Name"], pascal(rule, more))


@reads("AWS::StepFunctions::StateMachine")
def state_machines(place: Place):
    client = place.client("stepfunctions")
    for machine in pages(client, "list_state_machines", "stateMachines"):
        arn = machine["stateMachineArn"]
        details = client.describe_state_machine(stateMachineArn=arn)
        tags = client.list_tags_for_resource(resourceArn=arn)["tags"]
        yield Found(arn, machine["name"], pascal(machine, details, {"tags": tags}))


# Kafka, MemoryDB, search


@seeds
def seed_clusters(place: Place) -> None:
    kafka = place.client("kafka")
    kafka.create_cluster(
        ClusterName="events",
        KafkaVersion="3.7.x",
        NumberOfBrokerNodes=3,
        BrokerNodeGroupInfo={
            "InstanceType": "kafka.m7g.large",
            "ClientSubnets": place.made["subnets"],
        },
        Tags={"team": "search"},
    )
    kafka.create_cluster_v2(
        ClusterName="serverless",
        Serverless={"VpcConfigs": [{"SubnetIds": place.made["subnets"]}]},
        Tags={"team": "search"},
    )
    place.client("memorydb").create_user(
        UserName="reader",
        AccessString="on ~* +@read",
        AuthenticationMode={"Type": "password", "Passwords": ["0123456789abcdef"]},
        Tags=pairs(place, "reader"),
    )
    place.client("opensearch").create_domain(
        DomainName="logs",
        EngineVersion="OpenSearch_2.17",
        ClusterConfig={"InstanceType": "r7g.large.search", "InstanceCount": 2},
        TagList=pairs(place, "logs"),
    )


@reads("AWS::MSK::Cluster")
def msk_clusters(place: Place):
    for cluster in pages(place.client("kafka"), "list_clusters", "ClusterInfoList"):
        yield Found(cluster["ClusterArn"], cluster["ClusterName"], pascal(cluster))


@reads("AWS::MSK::ServerlessCluster")
def msk_serverless_clusters(place: Place):
    arguments = {"ClusterTypeFilter": "SERVERLESS"}
    for cluster in pages(place.client("kafka"), "list_clusters_v2", "ClusterInfoList", **arguments):
        yield Found(cluster["ClusterArn"], cluster["ClusterName"], pascal(cluster))


@reads("AWS::MemoryDB::User")
def memorydb_users(place: Place):
    client = place.client("memorydb")
    for user in pages(client, "describe_users", "Users"):
        tags = client.list_tags(ResourceArn=user["ARN"])["TagList"]
        yield Found(user["ARN"], user["Name"], pascal(user, {"TagList": tags}))


@reads("AWS::OpenSearchService::Domain")
def opensearch_domains(place: Place):
    client = place.client("opensearch")
    for name in (item["DomainName"] for item in pages(client, "list_domain_names", "DomainNames")):
        domain = client.describe_domain(DomainName=name)["DomainStatus"]
        tags = client.list_tags(ARN=domain["ARN"])["TagList"]
        yield Found(domain["ARN"], name, pascal(domain, {"Tags": tags, "TagList": tags}))


# Delivery


@seeds
def seed_delivery(place: Place) -> None:
    codebuild = place.client("codebuild")
    codebuild.create_project(
        name="app-build",
        source={"type": "S3", "location": "bucket/path/file.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/standard:7.0",
            "computeType": "BUILD_GENERAL1_SMALL",
        },
        serviceRole=place.role,
        description="Builds the app",
        tags=[{"key": "team", "value": "search"}],
    )
    codedeploy = place.client("codedeploy")
    codedeploy.create_application(
        applicationName="shop", computePlatform="Lambda", tags=pairs(place, "shop")
    )
    codedeploy.create_deployment_group(
        applicationName="shop", deploymentGroupName="live", serviceRoleArn=place.role
    )
    codedeploy.create_deployment(
        applicationName="shop",
        deploymentGroupName="live",
        description="first",
        revision={
            "revisionType": "S3",
            "s3Location": {"bucket": "b", "key": "k", "bundleType": "zip"},
        },
    )

    def action(name: str, category: str, provider: str, configuration: dict, **more) -> dict:
        kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
        return {"name": name, "actionTypeId": kind, "configuration": configuration, **more}

    source = action(
        "Source",
        "Source",
        "S3",
        {"S3Bucket": "source", "S3ObjectKey": "app.zip"},
        runOrder=1,
        outputArtifacts=[{"name": "app"}],
    )
    build = action(
        "Build",
        "Build",
        "CodeBuild",
        {"ProjectName": "app-build"},
        runOrder=1,
        inputArtifacts=[{"name": "app"}],
    )
    codepipeline = place.client("codepipeline")
    codepipeline.create_pipeline(
        pipeline={
            "name": "release",
            "roleArn": place.role,
            "artifactStore": {"type": "S3", "location": "artifacts"},
            "stages": [
                {"name": "Source", "actions": [source]},
                {"name": "Build", "actions": [build]},
            ],
            "version": 1,
        },
        tags=[{"key": "team", "value": "search"}],
    )
    codepipeline.start_pipeline_execution(name="release")


@reads("AWS::CodeBuild::Project")
def codebuild_projects(place: Place):
    client = place.client("codebuild")
    for name in pages(client, "list_projects", "projects"):
        project = client.batch_get_projects(names=[name])["projects"][0]
        yield Found(project["arn"], name, pascal(project))


@reads("AWS::CodeDeploy::Application")
def codedeploy_applications(place: Place):
    client = place.client("codedeploy")
    for name in pages(client, "list_applications", "applications"):
        application = client.batch_get_applications(applicationNames=[name])["applicationsInfo"][0]
        arn = place.arn("codedeploy", f"application:{name}")
        tags = client.list_tags_for_resource(ResourceArn=arn)["Tags"]
        identifier = f"{place.account}/{place.region}/{name}"
        yield Found(identifier, name, pascal(application, {"tags": tags}))


@reads("AWS::CodeDeploy::Deployment")
def codedeploy_deployments(place: Place):
    client = place.client("codedeploy")
    for name in pages(client, "list_deployments", "deployments"):
        deployment = client.get_deployment(deploymentId=name)["deploymentInfo"]
        identifier = f"{place.account}/{place.region}/{name}"
        group = f"{place.account}/{place.region}/shop/{deployment['deploymentGroupName']}"
        created = [("codedeployDeploymentGroup", group)]
        yield Found(identifier, name, pascal(deployment), creates=created)


def pipelines(place: Place):
    client = place.client("codepipeline")
    for listed in pages(client, "list_pipelines", "pipelines"):
        answer = client.get_pipeline(name=listed["name"])
        yield listed, answer["pipeline"], answer["metadata"]


@reads("AWS::CodePipeline::Pipeline")
def codepipeline_pipelines(place: Place):
    client = place.client("codepipeline")
    for listed, pipeline, metadata in pipelines(place):
        arn = place.arn("codepipeline", listed["name"])
        tags = client.list_tags_for_resource(resourceArn=arn)["tags"]
        properties = pascal(metadata, pipeline, listed, {"tags": tags, "pipelineArn": arn})
        yield Found(arn, listed["name"], properties)


@reads("AWS::CodePipeline::Stage")
def codepipeline_stages(place: Place):
    for listed, pipeline, _ in pipelines(place):
        arn = place.arn("codepipeline", listed["name"])
        for order, stage in enumerate(pipeline["stages"], 1):
            more = {"pipelineName": listed["name"], "pipelineArn": arn, "order": order}
            yield Found(f"{arn}/{stage['name']}", stage["name"], pascal(stage, more))


@reads("AWS::CodePipeline::Action")
def codepipeline_actions(place: Place):
    for listed, pipeline, _ in pipelines(place):
        arn = place.arn("codepipeline", listed["name"])
        for stage in pipeline["stages"]:
            for action in stage["actions"]:
                more = {
                    "pipelineName": listed["name"],
                    "pipelineArn": arn,
                    "pipelineVersion": pipeline["version"],
                    "stageName": stage["name"],
                    "actionTypeId": pascal(action["actionTypeId"]),
                }
                yield Found(
                    f"{arn}/{stage['name']}/{action['name']}", action["name"], pascal(action, more)
                )


@reads("AWS::CodePipeline::PipelineExecution")
def codepipeline_executions(place: Place):
    client = place.client("codepipeline")
    for pipeline in pages(client, "list_pipelines", "pipelines"):
        name = pipeline["name"]
        for listed in pages(client, "list_pipeline_executions", "pipelineExecutionSummaries", pipelineName=name):
            execution = listed["pipelineExecutionId"]
            details = client.get_pipeline_execution(pipelineName=name, pipelineExecutionId=execution)
            yield Found(execution, execution, pascal(listed, details["pipelineExecution"]))


# Mail


@seeds
def seed_mail(place: Place) -> None:
    ses = place.client("sesv2")
    ses.create_email_identity(
        EmailIdentity=f"{place.region}.example.com", Tags=pairs(place, "identity")
    )


@reads("AWS::SES::EmailIdentity")
def ses_identities(place: Place):
    client = place.client("sesv2")
    for identity in pages(client, "list_email_identities", "EmailIdentities"):
        name = identity["IdentityName"]
        details = client.get_email_identity(EmailIdentity=name)
        yield Found(f"{place.account}/{place.region}/{name}", name, pascal(identity, details))


# Load balancing, scaling, stacks


@seeds
def seed_platform(place: Place) -> None:
    elb = place.client("elbv2")
    balancer = elb.create_load_balancer(
        Name="front", Subnets=place.made["subnets"], SecurityGroups=[place.made["group"]], Tags=pairs(place, "lb")
    )["LoadBalancers"][0]["LoadBalancerArn"]
    group = elb.create_target_group(
        Name="web", Protocol="HTTP", Port=80, VpcId=place.made["vpc"], Tags=pairs(place, "tg")
    )["TargetGroups"][0]["TargetGroupArn"]
    elb.create_listener(
        LoadBalancerArn=balancer,
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    scaling = place.client("autoscaling")
    scaling.create_launch_configuration(
        LaunchConfigurationName="web", ImageId="ami-12c6146b", InstanceType="t3.micro"
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="web",
        LaunchConfigurationName="web",
        MinSize=0,
        MaxSize=2,
        DesiredCapacity=0,
        VPCZoneIdentifier=place.made["subnets"][0],
        Tags=[{"Key": "team", "Value": "search", "PropagateAtLaunch": True}],
    )
    parameter = {"Name": "limit", "Type": "String", "Value": "1"}
    template = {"Resources": {"Limit": {"Type": "AWS::SSM::Parameter", "Properties": parameter}}}
    place.client("cloudformation").create_stack(
        StackName="base", TemplateBody=json.dumps(template), Tags=pairs(place, "base")
    )
    place.client("cloudwatch").put_metric_alarm(
        AlarmName="cpu",
        Namespace="AWS/EC2",
        MetricName="CPUUtilization",
        Statistic="Average",
        Period=300,
        EvaluationPeriods=1,
        Threshold=80.5,
        ComparisonOperator="GreaterThanThreshold",
        Tags=pairs(place, "cpu"),
    )
    logs = place.client("logs")
    logs.create_log_group(logGroupName="/app/web", tags={"team": "search"})
    logs.put_retention_policy(logGroupName="/app/web", retentionInDays=30)
    kms = place.client("kms")
    key = kms.create_key(Description="data", Tags=[{"TagKey": "team", "TagValue": "search"}])
    kms.create_alias(AliasName="alias/data", TargetKeyId=key["KeyMetadata"]["KeyId"])
    place.client("secretsmanager").create_secret(
        Name="db", SecretString="not-a-secret", Description="db", Tags=pairs(place, "db")
    )
    place.client("apigateway").create_rest_api(name="shop", description="Shop", tags={"team": "search"})
    place.client("apigatewayv2").create_api(
        Name="shop", ProtocolType="HTTP", Tags={"team": "search"}
    )
    place.client("efs").create_file_system(CreationToken="home", Encrypted=True, Tags=pairs(place, "home"))
    place.client("glue").create_job(
        Name="etl",
        Role=place.role,
        Command={"Name": "glueetl", "ScriptLocation": "s3://scripts/etl.py"},
        Tags={"team": "search"},
    )
    place.client("acm").request_certificate(
        DomainName=f"{place.region}.example.com", ValidationMethod="DNS", Tags=pairs(place, "cert")
    )
    place.client("backup").create_backup_vault(
        BackupVaultName="daily", BackupVaultTags={"team": "search"}
    )


@reads("AWS::ElasticLoadBalancingV2::LoadBalancer")
def load_balancers(place: Place):
    client = place.client("elbv2")
    for balancer in pages(client, "describe_load_balancers", "LoadBalancers"):
        arn = balancer["LoadBalancerArn"]
        tags = client.describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"]
        yield Found(arn, balancer["LoadBalancerName"], pascal(balancer, {"Tags": tags}))


@reads("AWS::ElasticLoadBalancingV2::TargetGroup")
def target_groups(place: Place):
    client = place.client("elbv2")
    for group in pages(client, "describe_target_groups", "TargetGroups"):
        arn = group["TargetGroupArn"]
        tags = client.describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"]
        yield Found(arn, group["TargetGroupName"], pascal(group, {"Tags": tags}))


@reads("AWS::AutoScaling::AutoScalingGroup")
def scaling_groups(place: Place):
    for group in pages(place.client("autoscaling"), "describe_auto_scaling_groups", "AutoScalingGroups"):
        yield Found(group["AutoScalingGroupARN"], group["AutoScalingGroupName"], pascal(group))


@reads("AWS::CloudFormation::Stack")
def stacks(place: Place):
    for stack in pages(place.client("cloudformation"), "describe_stacks", "Stacks"):
        yield Found(stack["StackId"], stack["StackName"], pascal(stack))


@reads("AWS::CloudWatch::Alarm")
def alarms(place: Place):
    client = place.client("cloudwatch")
    for alarm in pages(client, "describe_alarms", "MetricAlarms"):
        tags = client.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        yield Found(alarm["AlarmArn"], alarm["AlarmName"], pascal(alarm, {"Tags": tags}))


@reads("AWS::Logs::LogGroup")
def log_groups(place: Place):
    client = place.client("logs")
    for group in pages(client, "describe_log_groups", "logGroups"):
        name = group["logGroupName"]
        arn = place.arn("logs", f"log-group:{name}")
        tags = client.list_tags_for_resource(resourceArn=arn)["tags"]
        yield Found(arn, name, pascal(group, {"logGroupArn": arn, "tags": tags}))


@reads("AWS::KMS::Key")
def kms_keys(place: Place):
    client = place.client("kms")
    for key in pages(client, "list_keys", "Keys"):
        arn = key["KeyArn"]
        details = client.describe_key(KeyId=arn)["KeyMetadata"]
        aliases = [alias["AliasName"] for alias in pages(client, "list_aliases", "Aliases", KeyId=arn)]
        tags = pages(client, "list_resource_tags", "Tags", KeyId=arn)
        rotation = client.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]
        more = {"Aliases": aliases, "Tags": tags, "KeyRotationEnabled": rotation}
        yield Found(arn, aliases[0] if aliases else key["KeyId"], pascal(details, more))


@reads("AWS::SecretsManager::Secret")
def secrets(place: Place):
    for secret in pages(place.client("secretsmanager"), "list_secrets", "SecretList"):
        yield Found(secret["ARN"], secret["Name"], pascal(secret))


@reads("AWS::ApiGateway::RestApi")
def rest_apis(place: Place):
    for api in pages(place.client("apigateway"), "get_rest_apis", "items"):
        arn = f"arn:aws:apigateway:{place.region}::/restapis/{api['id']}"
        yield Found(arn, api["name"], pascal(api, {"Arn": arn}))


@reads("AWS::ApiGatewayV2::Api")
def apis(place: Place):
    for api in pages(place.client("apigatewayv2"), "get_apis", "Items"):
        arn = f"arn:aws:apigateway:{place.region}::/apis/{api['ApiId']}"
        yield Found(arn, api["Name"], pascal(api, {"Arn": arn}))


@reads("AWS::EFS::FileSystem")
def file_systems(place: Place):
    for system in pages(place.client("efs"), "describe_file_systems", "FileSystems"):
        arn = place.arn("elasticfilesystem", f"file-system/{system['FileSystemId']}")
        yield Found(arn, system.get("Name") or system["FileSystemId"], pascal(system))


@reads("AWS::Glue::Job")
def glue_jobs(place: Place):
    client = place.client("glue")
    for job in pages(client, "get_jobs", "Jobs"):
        arn = place.arn("glue", f"job/{job['Name']}")
        tags = client.get_tags(ResourceArn=arn)["Tags"]
        yield Found(arn, job["Name"], pascal(job, {"Arn": arn, "Tags": tags}))


@reads("AWS::ACM::Certificate")
def certificates(place: Place):
    client = place.client("acm")
    for listed in pages(client, "list_certificates", "CertificateSummaryList"):
        arn = listed["CertificateArn"]
        details = client.describe_certificate(CertificateArn=arn)["Certificate"]
        tags = client.list_tags_for_certificate(CertificateArn=arn)["Tags"]
        yield Found(arn, details["DomainName"], pascal(listed, details, {"Tags": tags}))


@reads("AWS::Backup::BackupVault")
def backup_vaults(place: Place):
    client = place.client("backup")
    for vault in pages(client, "list_backup_vaults", "BackupVaultList"):
        arn = vault["BackupVaultArn"]
        tags = client.list_tags(ResourceArn=arn)["Tags"]
        yield Found(arn, vault["BackupVaultName"], pascal(vault, {"Tags": tags}))


# Global services


@seeds_account
def seed_global(place: Place) -> None:
    place.client("route53").create_hosted_zone(
        Name=f"a{place.account}.example.com",
        CallerReference="1",
        HostedZoneConfig={"Comment": "main", "PrivateZone": False},
    )
    origin = {
        "Id": "o",
        "DomainName": "o.example.com",
        "CustomOriginConfig": {
            "HTTPPort": 80,
            "HTTPSPort": 443,
            "OriginProtocolPolicy": "https-only",
        },
    }
    certificate = place.client("acm").list_certificates()["CertificateSummaryList"][0]
    place.client("cloudfront").create_distribution_with_tags(
        DistributionConfigWithTags={
            "DistributionConfig": {
                "CallerReference": "1",
                "Origins": {"Quantity": 1, "Items": [origin]},
                "DefaultCacheBehavior": {
                    "TargetOriginId": "o",
                    "ViewerProtocolPolicy": "redirect-to-https",
                    "MinTTL": 0,
                    "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
                },
                "Comment": "site",
                "Enabled": True,
                "ViewerCertificate": {
                    "ACMCertificateArn": certificate["CertificateArn"],
                    "SSLSupportMethod": "sni-only",
                    "MinimumProtocolVersion": "TLSv1.2_2021",
                },
            },
            "Tags": {"Items": pairs(place, "site")},
        }
    )


@reads("AWS::Route53::HostedZone", "global")
def hosted_zones(place: Place):
    client = place.client("route53")
    for zone in pages(client, "list_hosted_zones", "HostedZones"):
        name = zone["Id"].rsplit("/", 1)[1]
        arn = f"arn:aws:route53:::hostedzone/{name}"
        details = client.get_hosted_zone(Id=name)
        details = {"DelegationSet": details.get("DelegationSet"), "VPCs": details.get("VPCs")}
        properties = pascal(zone, details, {"Arn": arn, "HostedZoneId": name})
        yield Found(arn, zone["Name"].removesuffix("."), properties)


@reads("AWS::CloudFront::Distribution", "global")
def distributions(place: Place):
    client = place.client("cloudfront")
    for distribution in client.list_distributions()["DistributionList"].get("Items", []):
        tags = client.list_tags_for_resource(Resource=distribution["ARN"])["Tags"]["Items"]
        yield Found(distribution["ARN"], distribution["DomainName"], pascal(distribution, {"Tags": tags}))


def seed_organization(place: Place) -> None:
    client = place.client("organizations")
    client.create_organization(FeatureSet="ALL")
    client.create_account(Email="team@example.com", AccountName="team", Tags=pairs(place, "team"))


@reads("AWS::Organizations::Account", "organization")
def organization_accounts(place: Place):
    client = place.client("organizations")
    for account in pages(client, "list_accounts", "Accounts"):
        parents = pages(client, "list_parents", "Parents", ChildId=account["Id"])
        tags = pages(client, "list_tags_for_resource", "Tags", ResourceId=account["Id"])
        properties = pascal(account, {"Parents": parents, "Tags": tags})
        member = account["Id"] != place.account
        created = [("awsAccount", account["Id"])] if member else []
        yield Found(account["Id"], account["Name"], properties, creates=created)


def mappings() -> dict[str, dict]:
    """The default mapping of each kind, from its plugin's manifest."""
    found = {}
    for manifest in (Path(__file__).parent / "../../plugins").glob("*/manifest.json"):
        for kind in json.loads(manifest.read_text())["kinds"]:
            found[kind["kind"]] = kind["mapping"]["port"]["entity"]["mappings"]
    return found


PROGRAMS: dict = {}


def evaluate(expression: str, document: dict):
    if expression not in PROGRAMS:
        PROGRAMS[expression] = jq.compile(expression)
    return next(iter(PROGRAMS[expression].input_value(document)), None)


def entity(kind: str, mapping: dict, place: Place, found: Found, scope: str) -> dict:
    where = {"AccountId": place.account}
    if scope == "regional":
        where["Region"] = place.region
    document = {
        "Type": kind,
        "Properties": plain(found.properties),
        "__ExtraContext": where | found.context,
        **{f"__{name}": value for name, value in where.items()},
    }

    def mapped(part: str) -> dict:
        return {name: evaluate(text, document) for name, text in mapping.get(part, {}).items()}

    return {
        "kind": kind,
        "account": place.account,
        "region": place.region,
        "blueprint": evaluate(mapping["blueprint"], document),
        "identifier": found.identifier,
        "title": found.title,
        "properties": mapped("properties"),
        "relations": mapped("relations"),
    }


def seed_all(accounts: list[list[Place]]) -> None:
    for places in accounts:
        for once, seed in SEEDS:
            for place in places[:1] if once else places:
                seed(place)
    # The first account manages the organization.
    seed_organization(accounts[0][0])


def expected(accounts: list[list[Place]]) -> list[dict]:
    """The entities of all accounts, of all kinds that have a plugin."""
    default = mappings()
    found = []
    for kind in sorted(READS.keys() & default.keys()):
        scope, read = READS[kind]
        for places in accounts[:1] if scope == "organization" else accounts:
            for place in places if scope == "regional" else places[:1]:
                for item in read(place):
                    found.append(entity(kind, default[kind], place, item, scope))
                    found += [
                        {"blueprint": blueprint, "identifier": identifier}
                        for blueprint, identifier in item.creates
                    ]
    return found


def main() -> None:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--accounts", required=True, type=names)
    parser.add_argument("--regions", required=True, type=names)
    parser.add_argument("command", choices=["seed", "expected", "kinds"])
    arguments = parser.parse_args()

    # Nothing of the machine's own AWS set-up may reach the stand-in.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    if arguments.command == "kinds":
        json.dump(sorted(READS), sys.stdout)
        return
    entered = [Account(arguments.endpoint, account) for account in arguments.accounts]
    accounts = [[Place(account, region) for region in arguments.regions] for account in entered]
    if arguments.command == "seed":
        seed_all(accounts)
    else:
        json.dump(expected(accounts), sys.stdout)


if __name__ == "__main__":
    main()
