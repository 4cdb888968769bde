//! Regular expressions as libjq has them: Oniguruma's, in its Perl syntax with named groups. jaq's
//! own know neither look-around nor back references, nor letters beyond ASCII.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use fancy_regex::{Match, Regex, RegexBuilder};
use jaq_core::{
    Cv, Error, ValR,
    data::JustLut,
    native::{Fun, bome, run, v},
};
use jaq_json::{Map, Val};

/// The functions below. jaq's standard library defines `test`, `sub` and the like by them.
pub(crate) const NAMES: [&str; 3] = ["matches", "split_matches", "split_"];

/// Compiled expressions that are kept.
const KEPT: usize = 64;

type Data = JustLut<Val>;

pub(crate) fn functions() -> [Fun<Data>; 3] {
    [
        run(("matches", v(2), |cv| bome(search(cv, Parts { gaps: false, matches: true })))),
        run(("split_matches", v(2), |cv| bome(search(cv, Parts { gaps: true, matches: true })))),
        run(("split_", v(2), |cv| bome(search(cv, Parts { gaps: true, matches: false })))),
    ]
}

/// What is returned: the text between matches, the matches, or both in turn.
#[derive(Clone, Copy)]
struct Parts {
    gaps: bool,
    matches: bool,
}

fn search(mut cv: Cv<'_, Data>, parts: Parts) -> ValR<Val> {
    let flags = cv.0.pop_var();
    let pattern = cv.0.pop_var();
    let refused =
        |value: &Val, what: &str| Error::str(format!("{value} cannot be matched, as it is not {what}"));
    let input = text(&cv.1).ok_or_else(|| refused(&cv.1, "a string"))?;
    let pattern = text(&pattern).ok_or_else(|| refused(&pattern, "a string"))?;
    let flags = match &flags {
        Val::Null => "",
        flags => text(flags).ok_or_else(|| Error::str(format!("{flags} is not a string")))?,
    };
    let global = flags.contains('g');
    let not_empty = flags.contains('n');
    let regex = compiled(pattern, flags).map_err(Error::str)?;
    let mut offsets = Offsets { text: input, bytes: 0, characters: 0 };
    let mut out = Vec::new();
    let mut end = 0;
    for captures in regex.captures_iter(input) {
        let captures = captures.map_err(|error| Error::str(format!("Regex failure: {error}")))?;
        let Some(whole) = captures.get(0).filter(|whole| !(not_empty && whole.start() == whole.end())) else {
            continue;
        };
        if parts.gaps {
            out.push(string(&input[end..whole.start()]));
            end = whole.end();
        }
        if parts.matches {
            let groups = captures.iter().zip(regex.capture_names()).skip(1);
            let groups = groups.map(|(group, name)| {
                let mut members = found(group, offsets);
                members.insert(string("name"), name.map_or(Val::Null, string));
                members
            });
            out.push(std::iter::once(found(Some(whole), offsets)).chain(groups).map(Val::obj).collect());
            offsets.advance(whole.start());
        }
        if !global {
            break;
        }
    }
    if parts.gaps {
        out.push(string(&input[end..]));
    }
    Ok(out.into_iter().collect())
}

fn text(value: &Val) -> Option<&str> {
    match value {
        Val::TStr(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

fn string(text: &str) -> Val {
    Val::utf8_str(text.to_owned())
}

/// A match, or a group that may not have matched, as libjq tells it.
fn found(part: Option<Match<'_>>, mut offsets: Offsets<'_>) -> Map {
    let number = |number: usize| Val::from(isize::try_from(number).unwrap_or(isize::MAX));
    let (offset, length, text) = match part {
        Some(part) => (
            number(offsets.advance(part.start())),
            number(part.as_str().chars().count()),
            string(part.as_str()),
        ),
        None => (Val::from(-1_isize), number(0), Val::Null),
    };
    [("offset", offset), ("length", length), ("string", text)]
        .into_iter()
        .map(|(name, value)| (string(name), value))
        .collect()
}

/// Turns offsets in bytes into offsets in characters, onwards from the last one where possible.
#[derive(Clone, Copy)]
struct Offsets<'t> {
    text: &'t str,
    bytes: usize,
    characters: usize,
}

impl Offsets<'_> {
    fn advance(&mut self, to: usize) -> usize {
        if to < self.bytes {
            (self.bytes, self.characters) = (0, 0);
        }
        self.characters += self.text[self.bytes..to].chars().count();
        self.bytes = to;
        self.characters
    }
}

fn compiled(pattern: &str, flags: &str) -> Result<Rc<Regex>, String> {
    thread_local! {
        static COMPILED: RefCell<HashMap<(String, String), Rc<Regex>>> = RefCell::default();
    }
    let key = (pattern.to_owned(), flags.to_owned());
    if let Some(regex) = COMPILED.with_borrow(|known| known.get(&key).cloned()) {
        return Ok(regex);
    }
    let regex = Rc::new(compile(pattern, flags)?);
    COMPILED.with_borrow_mut(|known| {
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(key, Rc::clone(&regex));
    });
    Ok(regex)
}

fn compile(pattern: &str, flags: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(&translated(pattern));
    builder.oniguruma_mode(true);
    for flag in flags.chars() {
        match flag {
            // `s` makes `^` and `$` mean the ends of the text, which they mean in any case.
            'g' | 's' | 'n' => &mut builder,
            'i' => builder.case_insensitive(true),
            'x' => builder.ignore_whitespace(true),
            'p' => builder.dot_matches_new_line(true),
            'l' => builder.leftmost_longest(true),
            _ => return Err(format!("{flags} is not a valid modifier string")),
        };
    }
    builder.build().map_err(|error| format!("Regex failure: {error}"))
}

/// What Oniguruma means by `$` and by classes such as `[:alpha:]`: the end of the text but for a
/// newline, and all letters of Unicode.
fn translated(pattern: &str) -> String {
    const CLASSES: [(&str, &str); 6] = [
        ("[:alpha:]", r"\p{Alphabetic}"),
        ("[:alnum:]", r"\p{Alphabetic}\p{Nd}"),
        ("[:digit:]", r"\p{Nd}"),
        ("[:lower:]", r"\p{Lowercase}"),
        ("[:space:]", r"\s"),
        ("[:upper:]", r"\p{Uppercase}"),
    ];
    // Whoever asks for lines by `(?m)` means their ends.
    let lines = pattern.contains("(?m");
    let mut out = String::with_capacity(pattern.len());
    let (mut rest, mut depth) = (pattern, 0_usize);
    while let Some(c) = rest.chars().next() {
        let class = CLASSES.iter().find(|(name, _)| depth > 0 && rest.starts_with(name));
        let length = match (c, class) {
            (_, Some((name, class))) => {
                out.push_str(class);
                rest = &rest[name.len()..];
                continue;
            }
            ('\\', _) => rest.chars().take(2).map(char::len_utf8).sum(),
            ('[', _) => {
                depth += 1;
                1
            }
            (']', _) => {
                depth = depth.saturating_sub(1);
                1
            }
            ('$', _) if depth == 0 && !lines => {
                out.push_str(r"(?=\n?\z)");
                rest = &rest[1..];
                continue;
            }
            _ => c.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}
