//! Refuses every batch.

support::guest!("refuse", "Hostile::Refuse", |_, _| Err("not on a Monday".into()));
