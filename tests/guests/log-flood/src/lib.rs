//! Logs forever, with escape codes for terminals.

support::guest!("log-flood", "Hostile::LogFlood", |context, resources| {
    support::log(support::Level::Warn, &"x".repeat(10_000));
    for line in 0..10_000 {
        support::log(support::Level::Info, &format!("line {line}\nforged\u{1b}[2J"));
    }
    Ok(support::map("log-flood", &resources, context.output))
});
