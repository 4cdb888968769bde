//! Maps correctly.

support::guest!("honest", "Guests::Honest", |context, resources| Ok(support::map(
    "honest",
    &resources,
    context.output
)));
