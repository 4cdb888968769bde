//! What the mappings of many AWS kinds have in common.

use crate::{Context, Json};

/// Whether another account owns a resource and only shares it with this one. It is an entity of
/// its owner.
pub fn is_foreign(context: &Context, owner: Json<'_>) -> bool {
    owner.as_str().is_some_and(|owner| owner != context.account_id)
}

/// The value of the tag `Name`, which AWS's console shows as the resource's name. An empty one is
/// none.
pub fn name_tag(tags: Json<'_>) -> Option<Json<'_>> {
    tags.elements().ok()?.into_iter().find_map(|tag| {
        let tag = tag.fields().ok()?;
        if tag.get("Key")?.as_str()? != "Name" {
            return None;
        }
        tag.get("Value").filter(|value| !value.is_null() && value.text() != "\"\"")
    })
}
