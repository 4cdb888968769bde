//! Returns bytes that are not UTF-8.

support::guest!("bad-utf8", "Hostile::Utf8", |_, _| Ok(b"{\"entities\": \xff\xfe}".to_vec()));
