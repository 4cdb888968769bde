//! Finding where a JSON value ends, sixteen bytes at a time.
//!
//! Most of a batch is skipped or passed on as it is, so that this is what mapping spends its time
//! on. Strings and brackets are followed; whether what stands between them is well-formed is not
//! looked at, since the host writes batches itself and reads what is made of them.

use std::str::Utf8Error;

/// Bytes that are looked at in one step.
const WIDTH: usize = 16;

/// Sixteen bytes, and where in them something stands: bit 0 is the first byte.
#[derive(Clone, Copy)]
struct Block(imp::Bytes);

impl Block {
    /// The bytes from `at` on; what is missing at the end of the text is filled up with spaces.
    #[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
    fn at(text: &[u8], at: usize) -> Self {
        if let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<WIDTH>()) {
            return Self(imp::load(bytes));
        }
        let mut padded = [b' '; WIDTH];
        let rest = text.get(at..).unwrap_or_default();
        for (to, from) in padded.iter_mut().zip(rest) {
            *to = *from;
        }
        Self(imp::load(&padded))
    }

    /// Where this byte stands.
    #[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
    fn equal(self, byte: u8) -> u32 {
        imp::equal(self.0, byte)
    }

    /// Where this byte stands once bit 5 of each byte is set, which makes `[` of `{` and `]` of `}`
    /// alike.
    #[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
    fn equal_folded(self, byte: u8) -> u32 {
        imp::equal(imp::fold(self.0), byte)
    }
}

#[cfg(target_family = "wasm")]
mod imp {
    use core::arch::wasm32::{i8x16_bitmask, u8x16_eq, u8x16_splat, v128, v128_load, v128_or};

    pub(super) type Bytes = v128;

    #[target_feature(enable = "simd128")]
    pub(super) fn load(bytes: &[u8; 16]) -> Bytes {
        #[expect(unsafe_code, reason = "there is no other way to read sixteen bytes at once")]
        // SAFETY: the reference is to sixteen bytes, and the load asks for no alignment.
        unsafe {
            v128_load(bytes.as_ptr().cast())
        }
    }

    #[target_feature(enable = "simd128")]
    pub(super) fn equal(bytes: Bytes, byte: u8) -> u32 {
        u32::from(i8x16_bitmask(u8x16_eq(bytes, u8x16_splat(byte))))
    }

    #[target_feature(enable = "simd128")]
    pub(super) fn high(bytes: Bytes) -> u32 {
        u32::from(i8x16_bitmask(bytes))
    }

    #[target_feature(enable = "simd128")]
    pub(super) fn fold(bytes: Bytes) -> Bytes {
        v128_or(bytes, u8x16_splat(0x20))
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "the processor's own instructions; natively, plugins run in tests and benchmarks only"
)]
mod imp {
    use core::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };

    pub(super) type Bytes = __m128i;

    pub(super) fn load(bytes: &[u8; 16]) -> Bytes {
        // SAFETY: the reference is to sixteen bytes, and the load asks for no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    pub(super) fn equal(bytes: Bytes, byte: u8) -> u32 {
        // SAFETY: every processor of this architecture has SSE2.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()))).cast_unsigned() }
    }

    pub(super) fn high(bytes: Bytes) -> u32 {
        // SAFETY: as above.
        unsafe { _mm_movemask_epi8(bytes).cast_unsigned() }
    }

    pub(super) fn fold(bytes: Bytes) -> Bytes {
        // SAFETY: as above.
        unsafe { _mm_or_si128(bytes, _mm_set1_epi8(0x20)) }
    }
}

#[cfg(not(any(target_family = "wasm", target_arch = "x86_64")))]
mod imp {
    pub(super) type Bytes = [u8; 16];

    pub(super) fn load(bytes: &[u8; 16]) -> Bytes {
        *bytes
    }

    pub(super) fn equal(bytes: Bytes, byte: u8) -> u32 {
        bytes.iter().rev().fold(0, |mask, other| mask << 1 | u32::from(*other == byte))
    }

    pub(super) fn high(bytes: Bytes) -> u32 {
        bytes.iter().rev().fold(0, |mask, byte| mask << 1 | u32::from(byte >> 7))
    }

    pub(super) fn fold(bytes: Bytes) -> Bytes {
        bytes.map(|byte| byte | 0x20)
    }
}

/// The bytes as text. Nearly all batches are plain ASCII, which shows at once.
///
/// # Errors
/// Where they are no UTF-8.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Utf8Error> {
    // A few blocks a step: in the sandbox each step costs a look at the clock.
    const STEP: usize = 4 * WIDTH;
    let (steps, rest) = bytes.as_chunks::<STEP>();
    let is_ascii = |step: &[u8; STEP]| {
        let (blocks, _) = step.as_chunks::<WIDTH>();
        blocks.iter().fold(0, |high, block| high | imp::high(imp::load(block))) == 0
    };
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

/// The position after the closing quote of the string whose first character stands at `from`, and
/// whether it has escapes; `None` when it does not end.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub(crate) fn string_end(text: &[u8], from: usize) -> Option<(usize, bool)> {
    let (mut at, mut escapes) = (from, false);
    while at < text.len() {
        let block = Block::at(text, at);
        let quotes = block.equal(b'"');
        let escape = block.equal(b'\\');
        if escape == 0 {
            if quotes != 0 {
                return Some((at + quotes.trailing_zeros() as usize + 1, escapes));
            }
            at += WIDTH;
        } else if quotes.trailing_zeros() < escape.trailing_zeros() {
            return Some((at + quotes.trailing_zeros() as usize + 1, escapes));
        } else {
            // On behind what is escaped.
            escapes = true;
            at += escape.trailing_zeros() as usize + 2;
        }
    }
    None
}

/// The position after the bracket that closes the object or list whose first bracket stands at
/// `from`; `None` when it does not end.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub(crate) fn container_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    let mut depth = 0_u32;
    // All ones while a string goes on from the block before.
    let mut inside = 0_u32;
    while at < text.len() {
        let block = Block::at(text, at);
        let escape = block.equal(b'\\');
        let quotes = block.equal(b'"');
        if escape != 0 {
            // Rare: up to the escaped character by itself, then on behind it.
            let first = escape.trailing_zeros();
            let before = (1_u32 << first) - 1;
            let strings = strings(quotes & before, inside);
            let (opened, closed) = brackets(block, strings, before);
            if closed.count_ones() >= depth
                && let Some(end) = closing(opened, closed, depth)
            {
                return Some(at + end);
            }
            depth = (depth + opened.count_ones()).saturating_sub(closed.count_ones());
            inside = 0_u32.wrapping_sub(strings >> first & 1);
            at += first as usize + 2;
            continue;
        }
        let strings = strings(quotes, inside);
        let (opened, closed) = brackets(block, strings, 0xffff);
        if closed.count_ones() >= depth
            && let Some(end) = closing(opened, closed, depth)
        {
            return Some(at + end);
        }
        depth = (depth + opened.count_ones()).saturating_sub(closed.count_ones());
        inside = 0_u32.wrapping_sub(strings >> 15 & 1);
        at += WIDTH;
    }
    None
}

/// The bytes that belong to strings, from each opening quote up to the closing one.
fn strings(quotes: u32, inside: u32) -> u32 {
    let mut strings = quotes ^ quotes << 1;
    strings ^= strings << 2;
    strings ^= strings << 4;
    strings ^= strings << 8;
    strings ^ inside
}

#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn brackets(block: Block, strings: u32, of: u32) -> (u32, u32) {
    let outside = !strings & of;
    (block.equal_folded(b'{') & outside, block.equal_folded(b'}') & outside)
}

/// The position after the bracket with which the depth falls to nothing.
fn closing(opened: u32, closed: u32, mut depth: u32) -> Option<usize> {
    let mut left = opened | closed;
    while left != 0 {
        let bit = left & left.wrapping_neg();
        if opened & bit != 0 {
            depth += 1;
        } else if depth <= 1 {
            return Some(bit.trailing_zeros() as usize + 1);
        } else {
            depth -= 1;
        }
        left ^= bit;
    }
    None
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

    #[test]
    fn strings_end_at_their_quote() {
        for (text, end, escapes) in [
            (r#"""#, 1, false),
            (r#"abc", "d""#, 4, false),
            (r#"0123456789abcdef""#, 17, false),
            (r#"a\\", "d""#, 4, true),
            (r#"a\"b", "d""#, 5, true),
            (r#"0123456789abcde\"f\\""#, 21, true),
        ] {
            assert_eq!(string_end(text.as_bytes(), 0), Some((end, escapes)), "{text}");
        }
        for text in ["", "abc", r"abc\", r#"abc\""#, "0123456789abcdef"] {
            assert_eq!(string_end(text.as_bytes(), 0), None, "{text}");
        }
    }

    #[test]
    fn containers_end_at_their_bracket() {
        for text in [
            "{}",
            "[]",
            r#"{"a":[1,{"b":"]}"}],"c":"\\\"]","d":{"e":"0123456789abcdef"}}"#,
            r#"[[[[[[[[[[[[[[[[["x"]]]]]]]]]]]]]]]]]"#,
            r#"{"aaaaaaaaaaaa\"":"}","b":[]}"#,
        ] {
            for before in 0..20 {
                for behind in ["", "]", ", \"}\", 3"] {
                    let around = format!("{}{text}{behind}", " ".repeat(before));
                    assert_eq!(
                        container_end(around.as_bytes(), before),
                        Some(before + text.len()),
                        "{around}"
                    );
                }
            }
            assert_eq!(container_end(&text.as_bytes()[..text.len() - 1], 0), None, "{text}");
        }
    }
}
