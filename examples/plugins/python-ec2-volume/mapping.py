"""``AWS::EC2::Volume``, as the bundled plugin in Rust maps it."""

from sdk.berth import Context, Document, Kind, Resource, keeping_unknown, list_of, object_of, plugin, time

# The document that users' own JQ mappings see. Members that are not listed are kept as they are.
PROPERTIES = keeping_unknown({
    "VolumeId": {"required": True},
    "CreateTime": {"time": True},
    "Attachments": {"times": ["AttachTime"]},
})


def attachments(item: dict) -> list[dict]:
    """The attachments of a volume.

    What is no list of objects is refused: read as empty, a shape that is not understood would look as if
    nothing were attached.
    """
    found = item.get("Attachments")
    return [] if found is None else [object_of(attachment) for attachment in list_of(found)]


# What the default mapping in `manifest.json` says, in Python: `berth plugin test` holds the two together.
def entities(resource: Resource, context: Context) -> dict:
    item = resource.item
    instances = [attachment.get("InstanceId") for attachment in attachments(item)]
    return {
        "blueprint": "ec2Volume",
        "identifier": item.get("VolumeId"),
        "title": item.get("VolumeId"),
        "properties": {
            "volumeType": item.get("VolumeType"),
            "size": item.get("Size"),
            "iops": item.get("Iops"),
            "throughput": item.get("Throughput"),
            "state": item.get("State"),
            "encrypted": item.get("Encrypted"),
            "kmsKeyId": item.get("KmsKeyId"),
            "availabilityZone": item.get("AvailabilityZone"),
            "snapshotId": item.get("SnapshotId"),
            "multiAttachEnabled": item.get("MultiAttachEnabled"),
            "createTime": time(item.get("CreateTime")),
            "tags": item.get("Tags"),
        },
        "relations": {
            "account": context.account_id,
            # An attachment to something that AWS runs itself names no instance.
            "instances": [instance for instance in instances if isinstance(instance, str)],
        },
    }


def documents(resource: Resource, context: Context) -> Document:
    document = Document(context, PROPERTIES).merge(resource.item).origin()
    attachments(resource.item)
    enabled = resource.steps.get("autoEnableIO")
    return document if enabled is None else document.set("AutoEnableIO", enabled)


Mapper = plugin(Kind("AWS::EC2::Volume", entities, documents))
