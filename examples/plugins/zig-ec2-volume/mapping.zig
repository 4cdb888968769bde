//! `AWS::EC2::Volume`, as the bundled plugin in Rust maps it.

const berth = @import("sdk/berth.zig");
pub const panic = berth.panic;

/// The document that users' own JQ mappings see. Members that are not listed are kept as they are.
const properties: berth.Properties = .{ .members = &[_]berth.Member{
    .{ .name = "VolumeId", .form = .required },
    .{ .name = "CreateTime", .form = .time },
    .{ .name = "Attachments", .times = &[_]?berth.Name{ "AttachTime", null } },
    .{},
} };

/// Checks the attachments of a volume, and puts what they are attached to into a relation.
///
/// What is no list of objects is refused: read as empty, a shape that is not understood would look as if
/// nothing were attached.
fn instances(item: berth.Json, out: *berth.Out, relate: bool) void {
    const attachments = item.get("Attachments");
    if (!attachments.isNull() and !attachments.isList()) out.refuseValue(attachments, "a list");
    var elements = attachments.elements();
    while (elements.next()) |attachment| {
        if (!attachment.isObject()) out.refuseValue(attachment, "an object");
        // An attachment to something that AWS runs itself names no instance.
        const instance = attachment.get("InstanceId");
        if (relate and instance.isString()) out.target(instance);
    }
}

// What the default mapping in `manifest.json` says, in Zig: `berth plugin test` holds the two together.
fn entities(resource: *const berth.Resource, context: *const berth.Context, out: *berth.Out) !void {
    const item = resource.item;
    out.entity("ec2Volume", item.get("VolumeId"));
    out.title(item.get("VolumeId"));
    out.property("volumeType", item.get("VolumeType"));
    out.property("size", item.get("Size"));
    out.property("iops", item.get("Iops"));
    out.property("throughput", item.get("Throughput"));
    out.property("state", item.get("State"));
    out.property("encrypted", item.get("Encrypted"));
    out.property("kmsKeyId", item.get("KmsKeyId"));
    out.property("availabilityZone", item.get("AvailabilityZone"));
    out.property("snapshotId", item.get("SnapshotId"));
    out.property("multiAttachEnabled", item.get("MultiAttachEnabled"));
    out.propertyTime("createTime", item.get("CreateTime"));
    out.property("tags", item.get("Tags"));
    out.relationText("account", context.account_id);
    out.relationMany("instances");
    instances(item, out, true);
}

fn documents(resource: *const berth.Resource, _: *const berth.Context, out: *berth.Out) !void {
    out.document(&properties);
    out.merge(resource.item);
    out.origin();
    instances(resource.item, out, false);
    const enabled = resource.steps.get("autoEnableIO");
    if (!enabled.isNull()) out.set("AutoEnableIO", enabled);
}

export const berth_kinds = [_]berth.Kind{
    berth.kind("AWS::EC2::Volume", entities, documents),
    .{},
};
