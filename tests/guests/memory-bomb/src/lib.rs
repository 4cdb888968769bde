//! Allocates as much memory as it can.

support::guest!("memory-bomb", "Hostile::Memory", |_, _| {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1; 1 << 20]));
    }
});
