//! Returns an entity of a blueprint that its mapping does not name.

support::guest!("foreign-blueprint", "Hostile::Blueprint", |_, _| Ok(
    br#"{"entities": [{"identifier": "payments", "blueprint": "service"}]}"#.to_vec()
));
