// `AWS::EC2::Volume`, as the bundled plugin in Rust maps it.

import { Document, keepingUnknown, list, object, plugin, time } from './sdk/berth.js';

/** The document that users' own JQ mappings see. Members that are not listed are kept as they are. */
const PROPERTIES = keepingUnknown({
  VolumeId: { required: true },
  CreateTime: { time: true },
  Attachments: { times: ['AttachTime'] },
});

/** The attachments of a volume. What is no list of objects is refused: read as empty, a shape that is not
 * understood would look as if nothing were attached. */
function attachments(item) {
  return list(item.Attachments ?? []).map(object);
}

// What the default mapping in `manifest.json` says, in JavaScript: `berth plugin test` holds the two
// together.
function entities({ item }, context) {
  // An attachment to something that AWS runs itself names no instance.
  const instances = attachments(item)
    .map((attachment) => attachment.InstanceId)
    .filter((instance) => typeof instance === 'string');
  return {
    blueprint: 'ec2Volume',
    identifier: item.VolumeId,
    title: item.VolumeId,
    properties: {
      volumeType: item.VolumeType,
      size: item.Size,
      iops: item.Iops,
      throughput: item.Throughput,
      state: item.State,
      encrypted: item.Encrypted,
      kmsKeyId: item.KmsKeyId,
      availabilityZone: item.AvailabilityZone,
      snapshotId: item.SnapshotId,
      multiAttachEnabled: item.MultiAttachEnabled,
      createTime: time(item.CreateTime),
      tags: item.Tags,
    },
    relations: { account: context.accountId, instances },
  };
}

function documents({ item, steps }, context) {
  const document = new Document(context, PROPERTIES).merge(item).origin();
  attachments(item);
  return steps.autoEnableIO == null ? document : document.set('AutoEnableIO', steps.autoEnableIO);
}

export const mapper = plugin({ kind: 'AWS::EC2::Volume', entities, documents });
