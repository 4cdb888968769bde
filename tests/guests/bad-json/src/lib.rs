//! Returns something that is not an entity.

support::guest!("bad-json", "Hostile::Json", |_, _| Ok(
    br#"{"entities": [{"identifier": "i", "blueprint": "b"}, {"identifier": 7}]}"#.to_vec()
));
