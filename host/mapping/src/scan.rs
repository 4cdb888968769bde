//! Skipping strings, objects and lists in a text of JSON, sixteen bytes at a time.

const WIDTH: usize = 16;

/// Sixteen bytes of a text; behind its end there are spaces.
#[derive(Clone, Copy)]
struct Block(imp::Vector);

impl Block {
    #[inline]
    #[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
    fn at(text: &[u8], at: usize) -> Self {
        if let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<WIDTH>()) {
            return Self(imp::load(*bytes));
        }
        let mut padded = [b' '; WIDTH];
        let rest = text.get(at..).unwrap_or_default();
        for (to, from) in padded.iter_mut().zip(rest) {
            *to = *from;
        }
        Self(imp::load(padded))
    }

    /// Where this byte stands, as bits.
    #[inline]
    #[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
    fn equal(self, byte: u8) -> u32 {
        imp::equal(self.0, byte)
    }

    /// Where this byte stands once bit 5 of each byte is set, by which `[` is `{` and `]` is `}`.
    #[inline]
    #[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
    fn equal_folded(self, byte: u8) -> u32 {
        imp::equal(imp::fold(self.0), byte)
    }
}

#[cfg(target_family = "wasm")]
mod imp {
    pub(super) use core::arch::wasm32::v128 as Vector;
    use core::arch::wasm32::{i8x16_bitmask, u8x16_eq, u8x16_splat, v128_or};

    #[inline]
    pub(super) fn load(bytes: [u8; 16]) -> Vector {
        bytemuck::cast(bytes)
    }

    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) fn equal(bytes: Vector, byte: u8) -> u32 {
        u32::from(i8x16_bitmask(u8x16_eq(bytes, u8x16_splat(byte))))
    }

    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) fn fold(bytes: Vector) -> Vector {
        v128_or(bytes, u8x16_splat(0x20))
    }
}

#[cfg(not(target_family = "wasm"))]
mod imp {
    pub(super) use wide::u8x16 as Vector;

    #[inline]
    pub(super) fn load(bytes: [u8; 16]) -> Vector {
        Vector::new(bytes)
    }

    #[inline]
    pub(super) fn equal(bytes: Vector, byte: u8) -> u32 {
        bytes.simd_eq(Vector::splat(byte)).to_bitmask()
    }

    #[inline]
    pub(super) fn fold(bytes: Vector) -> Vector {
        bytes | Vector::splat(0x20)
    }
}

/// The position after the closing quote of the string whose first character stands at `from`, and
/// whether it has escapes; `None` when it does not end.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub fn string_end(text: &[u8], from: usize) -> Option<(usize, bool)> {
    let (mut at, mut escapes) = (from, false);
    while at < text.len() {
        let block = Block::at(text, at);
        let (quotes, escape) = (block.equal(b'"'), block.equal(b'\\'));
        if quotes.trailing_zeros() < escape.trailing_zeros() {
            return Some((at + quotes.trailing_zeros() as usize + 1, escapes));
        }
        if escape == 0 {
            at += WIDTH;
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
pub fn container_end(text: &[u8], from: usize) -> Option<usize> {
    let (mut at, mut depth) = (from, 0_u32);
    // All ones while a string goes on from the block before.
    let mut inside = 0_u32;
    while at < text.len() {
        let block = Block::at(text, at);
        let escape = block.equal(b'\\');
        // With an escape, only what stands before it counts; then on behind what is escaped.
        let (of, width) = match escape {
            0 => (0xffff, WIDTH),
            _ => ((1_u32 << escape.trailing_zeros()) - 1, escape.trailing_zeros() as usize + 2),
        };
        let strings = strings(block.equal(b'"') & of, inside);
        let outside = !strings & of;
        let (opened, closed) = (block.equal_folded(b'{') & outside, block.equal_folded(b'}') & outside);
        if closed.count_ones() >= depth
            && let Some(end) = closing(opened, closed, depth)
        {
            return Some(at + end);
        }
        depth = (depth + opened.count_ones()).saturating_sub(closed.count_ones());
        // An escape stands in a string, if the text is JSON.
        let last = if escape == 0 { 15 } else { escape.trailing_zeros() };
        inside = 0_u32.wrapping_sub(strings >> last & 1);
        at += width;
    }
    None
}

/// The bytes that belong to strings, from each opening quote up to the closing one.
#[inline]
fn strings(quotes: u32, inside: u32) -> u32 {
    let mut strings = quotes ^ quotes << 1;
    strings ^= strings << 2;
    strings ^= strings << 4;
    strings ^= strings << 8;
    strings ^ inside
}

/// The position after the bracket with which the depth falls to nothing.
#[inline]
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
            r#"["\\","\\\\\"","]\\"]"#,
        ] {
            for before in 0..20 {
                for behind in ["", "]", ", \"}\", 3"] {
                    let around = format!("{}{text}{behind}", " ".repeat(before));
                    let end = container_end(around.as_bytes(), before).unwrap();
                    assert_eq!(end, before + text.len(), "{around}");
                }
            }
            assert_eq!(container_end(&text.as_bytes()[..text.len() - 1], 0), None, "{text}");
        }
    }
}
