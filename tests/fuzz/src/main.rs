//! One binary with all targets: `BERTH_FUZZ_TARGET` selects the one that libFuzzer runs.
#![no_main]
#![expect(clippy::panic, reason = "a panic is how libFuzzer hears of a mistake")]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|input: &[u8]| chosen()(input));

fn chosen() -> fn(&[u8]) {
    static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("BERTH_FUZZ_TARGET").unwrap_or_default();
        #[cfg(feature = "settings")]
        if name == "settings" {
            return |input| berth_fuzz::read_settings(berth::fuzzing::settings, input);
        }
        let found = berth_fuzz::TARGETS.iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("BERTH_FUZZ_TARGET=`{name}` is no target")).run
    })
}
