//! Response templates: flat lists of bytes and of open values. A template is built once for each operation, and
//! filled for each request without the model.

use crate::{
    hash,
    noun::Form,
    world::{Item, Place, World, account_id},
};

/// A part of a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    Account,
    /// The region that was asked.
    Region,
    /// A name of the resource itself.
    Own(Form, String),
    /// A name of the resource that it belongs to.
    Parent(Form, String),
    /// A name of a resource of another collection.
    Other {
        collection: usize,
        form: Form,
        noun: String,
        salt: u64,
    },
    /// The name of the resource, as the input has it.
    Asked,
    /// A member of the input, with what stands for it when the input lacks it.
    Input {
        member: String,
        otherwise: Vec<Piece>,
    },
    /// Hex digits.
    Hex {
        salt: u64,
        digits: usize,
    },
    /// A whole number, from one to before another.
    Number {
        salt: u64,
        from: u64,
        to: u64,
    },
    /// One of these.
    Choice {
        salt: u64,
        of: Vec<String>,
    },
    /// A point in time, in seconds since 1970 from one to before another.
    Time {
        salt: u64,
        from: u64,
        to: u64,
        iso: bool,
    },
    /// How many elements the page has.
    Count,
    /// The token of the next page.
    NextToken,
    /// Whether there is a next page: `true` or `false`.
    More,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Bytes(Vec<u8>),
    Piece(Piece),
    /// Once for each resource, with these bytes between.
    Each(Vec<Part>, &'static [u8]),
    /// Only when there is a next page.
    IfMore(Vec<Part>),
}

/// How what comes from a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    Json,
    Xml,
}

/// An answer before it is about anything.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) parts: Vec<Part>,
    pub(crate) escape: Escape,
}

/// A resource that an answer is about, and how the input named it.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) item: Item,
    pub(crate) asked: Option<String>,
}

/// What an answer is about.
#[derive(Debug)]
pub(crate) struct Context<'c> {
    pub(crate) world: &'c World,
    pub(crate) place: Place<'c>,
    pub(crate) input: &'c serde_json::Value,
    pub(crate) subjects: &'c [Subject],
    pub(crate) next_token: Option<&'c str>,
}

impl Template {
    pub(crate) fn write(&self, context: &Context<'_>) -> Vec<u8> {
        let mut writer =
            Writer { context, escape: self.escape, scratch: String::new(), out: Vec::with_capacity(1024) };
        // Outside of its list an answer about several resources is about the first one.
        writer.parts(&self.parts, context.subjects.first());
        writer.out
    }
}

struct Writer<'c> {
    context: &'c Context<'c>,
    escape: Escape,
    scratch: String,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn parts(&mut self, parts: &[Part], subject: Option<&Subject>) {
        let seed = subject.map_or(
            hash::mix(self.context.place.account, hash::text(self.context.place.region)),
            |subject| subject.item.seed(),
        );
        for part in parts {
            match part {
                Part::Bytes(bytes) => self.out.extend_from_slice(bytes),
                Part::Piece(piece) => {
                    self.scratch.clear();
                    let mut text = std::mem::take(&mut self.scratch);
                    let foreign = self.piece(piece, subject, seed, &mut text);
                    if foreign {
                        escape(self.escape, &text, &mut self.out);
                    } else {
                        self.out.extend_from_slice(text.as_bytes());
                    }
                    self.scratch = text;
                }
                Part::Each(parts, between) => {
                    for (index, subject) in self.context.subjects.iter().enumerate() {
                        if index > 0 {
                            self.out.extend_from_slice(between);
                        }
                        self.parts(parts, Some(subject));
                    }
                }
                Part::IfMore(parts) => {
                    if self.context.next_token.is_some() {
                        self.parts(parts, subject);
                    }
                }
            }
        }
    }

    /// Writes a piece; whether it came from the request and may hold anything.
    fn piece(&self, piece: &Piece, subject: Option<&Subject>, seed: u64, to: &mut String) -> bool {
        use std::fmt::Write as _;
        let Context { world, place, .. } = *self.context;
        let item = subject.map(|subject| subject.item);
        match piece {
            Piece::Text(text) => to.push_str(text),
            Piece::Account => account_id(place.account, to),
            Piece::Region => to.push_str(place.region),
            Piece::Own(form, noun) => match item {
                Some(item) => world.write(item, *form, noun, place, to),
                None => drop(write!(to, "{noun}-{:08x}", seed >> 32)),
            },
            Piece::Parent(form, noun) => match item.and_then(|item| world.parent(item, place)) {
                Some(parent) => world.write(parent, *form, noun, place, to),
                None => drop(write!(to, "{noun}-{:08x}", seed >> 32)),
            },
            Piece::Other { collection, form, noun, salt } => {
                let other = world.referred(*collection, place, hash::mix(seed, *salt));
                world.write(other, *form, noun, place, to);
            }
            Piece::Asked => match subject.and_then(|subject| subject.asked.as_deref()) {
                Some(asked) => {
                    to.push_str(asked);
                    return true;
                }
                None => drop(write!(to, "{seed:016x}")),
            },
            Piece::Input { member, otherwise } => match self.context.input.get(member) {
                Some(serde_json::Value::String(text)) => {
                    to.push_str(text);
                    return true;
                }
                _ => {
                    return otherwise
                        .iter()
                        .fold(false, |foreign, piece| self.piece(piece, subject, seed, to) | foreign);
                }
            },
            Piece::Hex { salt, digits } => {
                let hash = hash::mix(seed, *salt);
                let _ = write!(to, "{hash:016x}{:016x}", hash::mix(hash, 1));
                to.truncate(to.len() - (32 - digits.min(&32)));
            }
            Piece::Number { salt, from, to: end } => {
                let _ = write!(to, "{}", from + hash::mix(seed, *salt) % (end - from).max(1));
            }
            Piece::Choice { salt, of } => {
                let count = of.len().max(1) as u64;
                let chosen = usize::try_from(hash::mix(seed, *salt) % count).unwrap_or_default();
                to.push_str(of.get(chosen).map_or("", String::as_str));
            }
            Piece::Time { salt, from, to: end, iso } => {
                let seconds = from + hash::mix(seed, *salt) % (end - from).max(1);
                if *iso {
                    iso8601(seconds, to);
                } else {
                    let _ = write!(to, "{seconds}");
                }
            }
            Piece::Count => drop(write!(to, "{}", self.context.subjects.len())),
            Piece::NextToken => to.push_str(self.context.next_token.unwrap_or_default()),
            Piece::More => to.push_str(if self.context.next_token.is_some() { "true" } else { "false" }),
        }
        false
    }
}

pub(crate) fn escape(escape: Escape, text: &str, to: &mut Vec<u8>) {
    match escape {
        Escape::Json => {
            let quoted = serde_json::Value::from(text).to_string();
            to.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
        }
        Escape::Xml => {
            for byte in text.bytes() {
                match byte {
                    b'<' => to.extend_from_slice(b"&lt;"),
                    b'>' => to.extend_from_slice(b"&gt;"),
                    b'&' => to.extend_from_slice(b"&amp;"),
                    b'"' => to.extend_from_slice(b"&quot;"),
                    byte => to.push(byte),
                }
            }
        }
    }
}

/// `2024-01-02T03:04:05Z`, by the calendar's own arithmetic: a formatter is too slow for every value.
pub(crate) fn iso8601(seconds: u64, to: &mut String) {
    use std::fmt::Write as _;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that the leap day is a year's last.
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let _ = write!(
        to,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_704_164_645, "2024-01-02T03:04:05Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            let mut text = String::new();
            iso8601(seconds, &mut text);
            assert_eq!(text, expected);
        }
    }
}
