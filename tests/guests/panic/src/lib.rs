//! Panics.

support::guest!("panic", "Hostile::Panic", |_, _| panic!("no mood for mapping"));
