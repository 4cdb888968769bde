//! Calls itself forever.

support::guest!("deep-recursion", "Hostile::Recursion", |_, resources| {
    #[allow(unconditional_recursion, reason = "on purpose")]
    fn deeper(bytes: &[u8], depth: u64) -> u64 {
        let here = std::hint::black_box([depth; 16]);
        deeper(bytes, depth + 1) + here[bytes.len() % 16]
    }
    Err(deeper(&resources, 0).to_string())
});
