//! Has a manifest with a step whose parent is missing.

use support::{Context, Guest};

struct Plugin;

impl Guest for Plugin {
    fn manifest() -> Vec<u8> {
        br#"{"name": "bad-manifest", "version": "1.0.0", "kinds": [{
            "kind": "Hostile::Manifest", "scope": "regional",
            "plan": {"steps": [
                {"id": "volumes", "service": "ec2", "operation": "DescribeVolumes", "items": "Volumes[]"},
                {"id": "tags", "each": "nothing", "service": "ec2", "operation": "DescribeTags"}
            ]}
        }]}"#
            .to_vec()
    }

    fn map_batch(_: Context, _: Vec<u8>) -> Result<Vec<u8>, String> {
        Err(String::new())
    }
}

support::bindings::export_plugin!(Plugin);
