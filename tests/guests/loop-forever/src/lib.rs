//! Never ends.

support::guest!("loop-forever", "Hostile::Loop", |_, _| loop {
    std::hint::spin_loop()
});
