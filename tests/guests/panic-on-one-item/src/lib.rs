//! Panics on resources whose name asks for it.

support::guest!("panic-on-one-item", "Hostile::OneItem", |context, resources| {
    let text = String::from_utf8_lossy(&resources).into_owned();
    for name in support::values(&text, "Name") {
        assert!(name != "panic", "this one again");
        while std::hint::black_box(name) == "loop" {
            std::hint::spin_loop();
        }
    }
    Ok(support::map("panic-on-one-item", &resources, context.output))
});
