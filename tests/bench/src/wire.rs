//! AWS responses in wire format, one for each protocol that a bundled kind uses.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use berth_aws_protocol::{AwsService, Operation};
use serde_json::{Value, json};

/// An answer with a hundred resources.
pub(crate) struct Answer {
    pub(crate) protocol: &'static str,
    pub(crate) operation: Operation,
    pub(crate) body: Vec<u8>,
}

/// How many resources an answer has.
pub(crate) const RESOURCES: usize = 100;

/// One for each protocol that a bundled kind speaks.
pub(crate) fn answers() -> Result<Vec<Answer>> {
    let repeated = |element: fn(usize) -> String| (0..RESOURCES).map(element).collect::<String>();
    let ec2 = format!(
        "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>8f</requestId>\
         <reservationSet>{}</reservationSet></DescribeInstancesResponse>",
        repeated(reservation)
    );
    let query = format!(
        "<DescribeAutoScalingGroupsResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
         <DescribeAutoScalingGroupsResult><AutoScalingGroups>{}</AutoScalingGroups>\
         </DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>",
        repeated(group)
    );
    let buckets = format!(
        "<ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>f0</ID></Owner>\
         <Buckets>{}</Buckets></ListAllMyBucketsResult>",
        repeated(|n| format!(
            "<Bucket><Name>acme-logs-{n}</Name><CreationDate>2024-01-02T03:04:05.000Z</CreationDate>\
             <BucketRegion>eu-west-1</BucketRegion></Bucket>"
        ))
    );
    let many = |element: fn(usize) -> Value| (0..RESOURCES).map(element).collect::<Vec<_>>();
    Ok(vec![
        answer("ec2", "ec2", "DescribeInstances", ec2.into_bytes())?,
        answer("query", "autoscaling", "DescribeAutoScalingGroups", query.into_bytes())?,
        answer("rest-xml", "s3", "ListBuckets", buckets.into_bytes())?,
        answer("json", "ecs", "DescribeClusters", serde_json::to_vec(&json!({"clusters": many(cluster)}))?)?,
        answer(
            "rest-json",
            "lambda",
            "ListFunctions",
            serde_json::to_vec(&json!({"Functions": many(function)}))?,
        )?,
    ])
}

fn answer(protocol: &'static str, service: &str, operation: &str, body: Vec<u8>) -> Result<Answer> {
    let operation = AwsService::load(service)?.operation(operation)?;
    let answer = Answer { protocol, operation, body };
    let decoded = answer.operation.decode(200, &http::HeaderMap::new(), &answer.body)?;
    let resources = decoded.as_object().and_then(|members| members.values().find_map(Value::as_array));
    anyhow::ensure!(
        resources.context("no list in the answer")?.len() == RESOURCES,
        "{protocol}: the answer is not read as it was made: {decoded}"
    );
    Ok(answer)
}

fn reservation(n: usize) -> String {
    let mut interfaces = String::new();
    for index in 0..2 {
        _ = write!(
            interfaces,
            "<item><networkInterfaceId>eni-{n:08x}{index}</networkInterfaceId><subnetId>subnet-0a1b2c3d</subnetId>\
             <vpcId>vpc-0a1b2c3d</vpcId><description/><ownerId>111122223333</ownerId><status>in-use</status>\
             <macAddress>02:2f:8f:b0:cf:75</macAddress><privateIpAddress>10.0.1.17</privateIpAddress>\
             <sourceDestCheck>true</sourceDestCheck><groupSet><item><groupId>sg-0a1b2c3d</groupId>\
             <groupName>web</groupName></item></groupSet><attachment><attachmentId>eni-attach-1</attachmentId>\
             <deviceIndex>{index}</deviceIndex><status>attached</status>\
             <attachTime>2024-05-06T07:08:09.000Z</attachTime>\
             <deleteOnTermination>true</deleteOnTermination></attachment></item>"
        );
    }
    format!(
        "<item><reservationId>r-{n:016x}</reservationId><ownerId>111122223333</ownerId><groupSet/><instancesSet>\
         <item><instanceId>i-{n:016x}</instanceId><imageId>ami-0c55b159cbfafe1f0</imageId><instanceState>\
         <code>16</code><name>running</name></instanceState><privateDnsName>ip-10-0-1-17.internal</privateDnsName>\
         <dnsName/><reason/><keyName>ops</keyName><amiLaunchIndex>0</amiLaunchIndex><productCodes/>\
         <instanceType>t3.micro</instanceType><launchTime>2024-05-06T07:08:09.000Z</launchTime>\
         <placement><availabilityZone>eu-west-1a</availabilityZone><groupName/><tenancy>default</tenancy>\
         </placement><monitoring><state>disabled</state></monitoring><subnetId>subnet-0a1b2c3d</subnetId>\
         <vpcId>vpc-0a1b2c3d</vpcId><privateIpAddress>10.0.1.17</privateIpAddress>\
         <sourceDestCheck>true</sourceDestCheck><architecture>x86_64</architecture>\
         <rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping>\
         <item><deviceName>/dev/xvda</deviceName><ebs><volumeId>vol-{n:016x}</volumeId>\
         <status>attached</status><attachTime>2024-05-06T07:08:10.000Z</attachTime>\
         <deleteOnTermination>true</deleteOnTermination></ebs></item></blockDeviceMapping>\
         <virtualizationType>hvm</virtualizationType><tagSet><item><key>Name</key><value>web-{n}</value></item>\
         <item><key>team</key><value>payments &amp; billing</value></item></tagSet><hypervisor>xen</hypervisor>\
         <networkInterfaceSet>{interfaces}</networkInterfaceSet><ebsOptimized>false</ebsOptimized>\
         <enaSupport>true</enaSupport></item></instancesSet></item>"
    )
}

fn group(n: usize) -> String {
    format!(
        "<member><AutoScalingGroupName>web-{n}</AutoScalingGroupName><AutoScalingGroupARN>\
         arn:aws:autoscaling:eu-west-1:111122223333:autoScalingGroup:1:autoScalingGroupName/web-{n}\
         </AutoScalingGroupARN><MinSize>1</MinSize><MaxSize>5</MaxSize><DesiredCapacity>2</DesiredCapacity>\
         <DefaultCooldown>300</DefaultCooldown><AvailabilityZones><member>eu-west-1a</member>\
         <member>eu-west-1b</member></AvailabilityZones><HealthCheckType>EC2</HealthCheckType>\
         <HealthCheckGracePeriod>300</HealthCheckGracePeriod><CreatedTime>2024-05-06T07:08:09.123Z</CreatedTime>\
         <Tags><member><Key>team</Key><Value>payments</Value><PropagateAtLaunch>true</PropagateAtLaunch>\
         </member></Tags><NewInstancesProtectedFromScaleIn>false</NewInstancesProtectedFromScaleIn></member>"
    )
}

fn cluster(n: usize) -> Value {
    json!({"clusterArn": format!("arn:aws:ecs:eu-west-1:111122223333:cluster/c{n}"), "clusterName": format!("c{n}"),
        "status": "ACTIVE", "registeredContainerInstancesCount": 3, "runningTasksCount": 12,
        "pendingTasksCount": 0, "activeServicesCount": 4, "statistics": [],
        "tags": [{"key": "team", "value": "payments"}], "settings": [{"name": "containerInsights", "value": "on"}],
        "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
        "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1, "base": 0}]})
}

fn function(n: usize) -> Value {
    json!({"FunctionName": format!("f{n}"), "Runtime": "python3.13", "Handler": "app.handler", "CodeSize": 12345,
        "FunctionArn": format!("arn:aws:lambda:eu-west-1:111122223333:function:f{n}"), "Timeout": 30,
        "Role": "arn:aws:iam::111122223333:role/f", "Description": "", "MemorySize": 256, "Version": "$LATEST",
        "LastModified": "2024-05-06T07:08:09.000+0000", "CodeSha256": "abcdefabcdefabcdefabcdefabcdef=",
        "Environment": {"Variables": {"STAGE": "production", "LOG_LEVEL": "info"}},
        "TracingConfig": {"Mode": "PassThrough"}, "PackageType": "Zip", "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512}, "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"}})
}
