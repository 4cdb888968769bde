// `AWS::EC2::Volume`, as the bundled plugin in Rust maps it.

#include "sdk/berth.h"

// The document that users' own JQ mappings see. Members that are not listed are kept as they are.
static const berth_properties PROPERTIES = {
    .members =
        (const berth_member[]){
            {.name = "VolumeId", .form = BERTH_REQUIRED},
            {.name = "CreateTime", .form = BERTH_TIME},
            {.name = "Attachments", .times = (const char *const[]){"AttachTime", NULL}},
            {0},
        },
};

// Moves to the next attachment of a volume.
//
// What is no list of objects is refused: read as empty, a shape that is not understood would look as if
// nothing were attached.
static bool next_attachment(berth_json item, berth_json *attachment, berth_out *out) {
  const berth_json found = berth_get(item, "Attachments");
  if (!berth_is_null(found) && !berth_is_list(found)) berth_refuse_value(out, found, "a list");
  if (!berth_next(found, attachment)) return false;
  if (!berth_is_object(*attachment)) berth_refuse_value(out, *attachment, "an object");
  return true;
}

// What the default mapping in `manifest.json` says, in C: `berth plugin test` holds the two together.
static void entities(const berth_resource *resource, const berth_context *context, berth_out *out) {
  const berth_json item = resource->item;
  berth_entity(out, "ec2Volume", berth_get(item, "VolumeId"));
  berth_title(out, berth_get(item, "VolumeId"));
  berth_property(out, "volumeType", berth_get(item, "VolumeType"));
  berth_property(out, "size", berth_get(item, "Size"));
  berth_property(out, "iops", berth_get(item, "Iops"));
  berth_property(out, "throughput", berth_get(item, "Throughput"));
  berth_property(out, "state", berth_get(item, "State"));
  berth_property(out, "encrypted", berth_get(item, "Encrypted"));
  berth_property(out, "kmsKeyId", berth_get(item, "KmsKeyId"));
  berth_property(out, "availabilityZone", berth_get(item, "AvailabilityZone"));
  berth_property(out, "snapshotId", berth_get(item, "SnapshotId"));
  berth_property(out, "multiAttachEnabled", berth_get(item, "MultiAttachEnabled"));
  berth_property_time(out, "createTime", berth_get(item, "CreateTime"));
  berth_property(out, "tags", berth_get(item, "Tags"));
  berth_relation_text(out, "account", context->account_id);
  berth_relation_many(out, "instances");
  for (berth_json attachment = {0}; next_attachment(item, &attachment, out);) {
    // An attachment to something that AWS runs itself names no instance.
    const berth_json instance = berth_get(attachment, "InstanceId");
    if (berth_is_string(instance)) berth_target(out, instance);
  }
}

static void documents(const berth_resource *resource, const berth_context *context, berth_out *out) {
  (void)context;
  berth_document(out, &PROPERTIES);
  berth_merge(out, resource->item);
  berth_origin(out);
  for (berth_json attachment = {0}; next_attachment(resource->item, &attachment, out);) {
  }
  const berth_json enabled = berth_get(resource->steps, "autoEnableIO");
  if (!berth_is_null(enabled)) berth_set(out, "AutoEnableIO", enabled);
}

const berth_kind berth_kinds[] = {
    {"AWS::EC2::Volume", entities, documents},
    {0},
};
