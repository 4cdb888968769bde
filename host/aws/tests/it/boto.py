"""Seeds moto with two accounts and prints what boto3 reads back, as one JSON document.

usage: boto.py ENDPOINT
"""

import datetime
import json
import sys

import boto3

ENDPOINT = sys.argv[1]
ACCOUNTS = ["111111111111", "222222222222"]
REGIONS = ["us-east-1", "eu-west-1"]


def session(account):
    sts = boto3.client(
        "sts", endpoint_url=ENDPOINT, region_name="us-east-1",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="base",
    )
    keys = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/Reader", RoleSessionName="seed")["Credentials"]
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def text(value):
    if isinstance(value, datetime.datetime):
        utc = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return utc.isoformat() + "Z"
    raise TypeError(type(value))


def seed(account):
    aws = session(account)
    for region in REGIONS:
        client = lambda name: aws.client(name, endpoint_url=ENDPOINT, region_name=region)
        ec2, ecs, s3 = client("ec2"), client("ecs"), client("s3")
        image = ec2.describe_images()["Images"][0]["ImageId"]
        for name in ["a&b", "c<d>"]:
            tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
            ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2, TagSpecifications=tags)
        for number in range(12):
            tags = [{"key": "number", "value": str(number)}]
            ecs.create_cluster(clusterName=f"cluster-{number}", tags=tags)
        ecs.register_task_definition(
            family="task", containerDefinitions=[{"name": "c", "image": "i", "memory": 1, "cpu": 1}])
        for number in range(3):
            ecs.create_service(cluster="cluster-1", serviceName=f"s-{number}", taskDefinition="task", desiredCount=0)
        name = f"bucket-{account}-{region}"
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **where)
        if region == "eu-west-1":
            s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "k", "Value": " ü & v "}]})


def read(account):
    aws = session(account)
    found = {}
    for region in REGIONS:
        client = lambda name: aws.client(name, endpoint_url=ENDPOINT, region_name=region)
        ec2, ecs = client("ec2"), client("ecs")
        arns = ecs.list_clusters()["clusterArns"]
        include = ["TAGS", "ATTACHMENTS", "SETTINGS", "CONFIGURATIONS", "STATISTICS"]
        services = [
            {"cluster": arn, "service": service}
            for arn in arns
            for service in ecs.list_services(cluster=arn)["serviceArns"]
        ]
        found[region] = {
            "reservations": ec2.describe_instances()["Reservations"],
            "clusters": ecs.describe_clusters(clusters=arns, include=include)["clusters"],
            "services": services,
        }
    s3 = aws.client("s3", endpoint_url=ENDPOINT, region_name="us-east-1")
    buckets = s3.list_buckets()["Buckets"]
    found["buckets"] = [
        {
            "bucket": bucket,
            "tags": s3.get_bucket_tagging(Bucket=bucket["Name"])["TagSet"] if "eu-west" in bucket["Name"] else [],
            "location": s3.get_bucket_location(Bucket=bucket["Name"])["LocationConstraint"],
        }
        for bucket in buckets
    ]
    return found


for account in ACCOUNTS:
    seed(account)
print(json.dumps({account: read(account) for account in ACCOUNTS}, default=text))
