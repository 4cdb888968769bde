//! Lines for the host's log. The host cuts them at 4 KiB and limits their number per batch.
//!
//! Natively (in tests) they go nowhere.

macro_rules! levels {
    ($($(#[$doc:meta])* $name:ident = $level:ident;)+) => {
        $(
            $(#[$doc])*
            pub fn $name(message: &str) {
                #[cfg(target_family = "wasm")]
                crate::bindings::berth::plugin::log::log(
                    crate::bindings::berth::plugin::log::Level::$level,
                    message,
                );
                #[cfg(not(target_family = "wasm"))]
                let _ = message;
            }
        )+
    };
}

levels! {
    /// For the plugin's author.
    debug = Debug;
    /// Of interest to whoever runs the sync.
    info = Info;
    /// Something is odd, and was mapped all the same.
    warn = Warn;
    /// Something is wrong. A resource that cannot be mapped is reported with
    /// [`Refused`](crate::Refused), not here.
    error = Error;
}

/// Sends the text of a panic (`panicked at …`) to the host, which shows it as the reason of the
/// failure. Without it a trap would tell nothing, or, where a standard error is imported, that it
/// may not be used.
#[doc(hidden)]
pub fn report_panics() {
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|info| error(&info.to_string())));
}
