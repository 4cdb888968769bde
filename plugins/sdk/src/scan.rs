//! Looking at all bytes of a text at once.

use std::str::Utf8Error;

/// The bytes as text. Nearly all batches are plain ASCII, which shows at once.
///
/// # Errors
/// Where they are no UTF-8.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Utf8Error> {
    // Many bytes a step: in the sandbox each step costs a look at the clock.
    const STEP: usize = 64;
    let (steps, rest) = bytes.as_chunks::<STEP>();
    let is_ascii = |step: &[u8; STEP]| step.iter().fold(0, |high, byte| high | byte) < 0x80;
    if !steps.iter().all(is_ascii) || !rest.is_ascii() {
        return std::str::from_utf8(bytes);
    }
    #[expect(unsafe_code, reason = "checking it a second time would take longer than the first")]
    // SAFETY: no byte has its highest bit set, and that is UTF-8.
    let text = unsafe { std::str::from_utf8_unchecked(bytes) };
    Ok(text)
}

/// Whether a string of JSON cannot hold the text as it is.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub(crate) fn needs_escapes(text: &[u8]) -> bool {
    #[expect(clippy::needless_bitwise_bool, reason = "without an early end many bytes are looked at at once")]
    text.iter().fold(false, |found, byte| found | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_utf8() {
        for position in 0..200 {
            let mut bytes = vec![b'a'; 200];
            assert!(utf8(&bytes).is_ok());
            bytes[position] = 0xff;
            assert_eq!(utf8(&bytes).unwrap_err().valid_up_to(), position);
            bytes.splice(position..=position, "ü".bytes());
            assert_eq!(utf8(&bytes).unwrap().chars().filter(|c| *c == 'ü').count(), 1);
        }
    }
}
