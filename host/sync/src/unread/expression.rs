//! Determines which members of a document's `Properties` a JQ expression may use.
//!
//! Reads only the expression's tokens: if in doubt, a member counts as used.

use std::collections::BTreeSet;

/// Something that an expression may use.
pub(super) enum Uses<'a> {
    /// Any of these members of `Properties`.
    Any(&'a BTreeSet<&'a str>),
    /// Anything of `Properties`.
    Everything,
}

impl Uses<'_> {
    /// Returns whether the expression may use it.
    pub(super) fn is_used_by(&self, expression: &str) -> bool {
        let tokens = Tokens::of(expression);
        tokens.uses_whole_document() || self.is_among(&tokens.0)
    }

    fn is_among(&self, tokens: &[Token]) -> bool {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            if !token.is_field("Properties") {
                continue;
            }
            let Self::Any(members) = self else { return true };
            while tokens.get(at) == Some(&Token::Try) {
                at += 1;
            }
            match tokens.get(at) {
                Some(Token::Field(member)) if !members.contains(member.as_str()) => {}
                // One of them, or all of `Properties`.
                Some(_) | None => return true,
            }
        }
        false
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// `.name`, `."name"`, `.["name"]`, `["name"]`.
    Field(String),
    /// A single `.`.
    Dot,
    /// `..`
    Descent,
    /// `?`
    Try,
    /// A word: a keyword or a function.
    Word(String),
    Pipe,
    /// An opening `(`, `[` or `{`.
    Open,
    /// A closing `)`, `]` or `}`.
    Close,
    /// `;`
    Semicolon,
    /// A text without interpolation.
    Text(String),
    /// Anything else.
    Other,
}

impl Token {
    fn is_field(&self, name: &str) -> bool {
        matches!(self, Self::Field(field) if field == name)
    }
}

/// Words that do not use their input.
const NEUTRAL: [&str; 22] = [
    "true", "false", "null", "if", "then", "elif", "else", "end", "not", "empty", "error", "and", "or", "as",
    "try", "catch", "select", "first", "last", "now", "reduce", "foreach",
];

struct Tokens(Vec<Token>);

impl Tokens {
    fn of(expression: &str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = expression;
        scan(&mut rest, &mut tokens, false);
        Self(tokens)
    }

    /// Returns whether the expression may use the whole document: by a `.` that stands for it, or by a
    /// function of it.
    fn uses_whole_document(&self) -> bool {
        let tokens = &self.0;
        let word = |name: &str| tokens.iter().any(|token| matches!(token, Token::Word(word) if word == name));
        if word("def") || word("getpath") || word("input") || word("inputs") {
            return true;
        }
        // After a binding, the input is still the document.
        let rebinds = word("as");
        // For each bracket or condition, whether a pipe has changed the input; and whether it had before the
        // bracket.
        let mut changed = vec![false];
        for (at, token) in tokens.iter().enumerate() {
            let is_changed = changed.last().is_some_and(|changed| *changed) && !rebinds;
            match token {
                Token::Dot | Token::Descent if !is_changed => return true,
                Token::Word(name) => match name.as_str() {
                    "if" => changed.push(is_changed),
                    "then" | "elif" | "else" => begin_again(&mut changed),
                    "end" if changed.len() > 1 => _ = changed.pop(),
                    // A key of an object, or a format, is not a function.
                    name if !is_changed && !NEUTRAL.contains(&name) && !is_key(tokens, at) => return true,
                    _ => {}
                },
                Token::Pipe => {
                    if let Some(now) = changed.last_mut() {
                        *now = true;
                    }
                }
                Token::Open => changed.push(is_changed),
                Token::Close if changed.len() > 1 => _ = changed.pop(),
                Token::Semicolon => begin_again(&mut changed),
                _ => {}
            }
        }
        false
    }
}

/// Resets the input at the next part of an open bracket.
fn begin_again(changed: &mut [bool]) {
    if let [.., before, now] = changed {
        *now = *before;
    } else if let [now] = changed {
        *now = false;
    }
}

/// Returns whether a word is the key of an object: `name:`.
fn is_key(tokens: &[Token], at: usize) -> bool {
    tokens.get(at + 1) == Some(&Token::Text(":".into()))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn take_word<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word
}

/// Reads tokens; with `interpolated`, up to the bracket that ends an interpolation.
fn scan(rest: &mut &str, tokens: &mut Vec<Token>, interpolated: bool) {
    let mut depth = 0_usize;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            _ if c.is_whitespace() => *rest = after,
            '#' => *rest = after.find('\n').map_or("", |end| &after[end..]),
            '"' => {
                *rest = after;
                text(rest, tokens);
            }
            '.' => {
                *rest = after;
                dot(rest, tokens);
            }
            '[' if index(rest, tokens) => {}
            ')' if interpolated && depth == 0 => {
                *rest = after;
                return;
            }
            '$' | '@' => {
                *rest = after;
                take_word(rest);
                tokens.push(Token::Other);
            }
            _ if c.is_ascii_digit() => {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                *rest = &rest[end..];
                tokens.push(Token::Other);
            }
            _ if is_word(c) => tokens.push(Token::Word(take_word(rest).to_owned())),
            _ => {
                *rest = after;
                let token = sign(c);
                match token {
                    Token::Open => depth += 1,
                    Token::Close => depth = depth.saturating_sub(1),
                    _ => {}
                }
                tokens.push(token);
            }
        }
    }
}

/// What a character is that stands for itself.
fn sign(c: char) -> Token {
    match c {
        '(' | '[' | '{' => Token::Open,
        ')' | ']' | '}' => Token::Close,
        '|' => Token::Pipe,
        ';' => Token::Semicolon,
        // `?//` is no matter here.
        '?' => Token::Try,
        ':' => Token::Text(":".into()),
        _ => Token::Other,
    }
}

/// Reads what a `.` begins, from behind it.
fn dot(rest: &mut &str, tokens: &mut Vec<Token>) {
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        tokens.push(Token::Descent);
    } else if let Some(quoted) = rest.strip_prefix('"') {
        *rest = quoted;
        text(rest, tokens);
        if let Some(Token::Text(name)) = tokens.last_mut() {
            let name = std::mem::take(name);
            tokens.pop();
            tokens.push(Token::Field(name));
        }
    } else if rest.starts_with(is_word) && !rest.starts_with(|c: char| c.is_ascii_digit()) {
        tokens.push(Token::Field(take_word(rest).to_owned()));
    } else if rest.trim_start().starts_with('[') {
        *rest = rest.trim_start();
        if !index(rest, tokens) {
            // `.[0]`, `.[]`: of whatever it stands on.
            tokens.push(Token::Dot);
        }
    } else {
        tokens.push(Token::Dot);
    }
}

/// Reads `["name"]`, if present.
fn index(rest: &mut &str, tokens: &mut Vec<Token>) -> bool {
    let Some(inner) = rest.strip_prefix('[').map(str::trim_start) else { return false };
    let Some(name) = inner.strip_prefix('"') else { return false };
    let Some(end) = name.find('"') else { return false };
    let Some(after) = name[end + 1..].trim_start().strip_prefix(']') else { return false };
    if name[..end].contains('\\') {
        return false;
    }
    tokens.push(Token::Field(name[..end].to_owned()));
    *rest = after;
    true
}

/// Reads a text after its opening quote.
fn text(rest: &mut &str, tokens: &mut Vec<Token>) {
    let mut plain = String::new();
    let mut is_plain = true;
    while let Some(c) = rest.chars().next() {
        *rest = &rest[c.len_utf8()..];
        match c {
            '"' => break,
            '\\' => {
                let Some(escaped) = rest.chars().next() else { break };
                *rest = &rest[escaped.len_utf8()..];
                is_plain = false;
                if escaped == '(' {
                    tokens.push(Token::Open);
                    scan(rest, tokens, true);
                    tokens.push(Token::Close);
                }
            }
            _ => plain.push(c),
        }
    }
    tokens.push(if is_plain { Token::Text(plain) } else { Token::Other });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_what_people_write() {
        let members = BTreeSet::from(["Tags"]);
        let used = |expression: &str| Uses::Any(&members).is_used_by(expression);
        for expression in [
            ".Properties.Tags",
            ".Properties.Tags?",
            ".Properties?.Tags",
            ".Properties[\"Tags\"]",
            ".[\"Properties\"].Tags",
            ".\"Properties\".\"Tags\"",
            ".Properties .Tags",
            "(.Properties.Tags // []) | length",
            ".Properties | .Tags",
            ".Properties as $p | $p.Tags",
            "\"\\(.Properties.Tags | length) tags\"",
            "\"a\\(\"b\\(.Properties.Tags)\")\"",
            "[.Properties[]]",
            "if .Properties.A then .Properties.Tags else null end",
            "if (.Properties.A | not) then . else null end",
            ".",
            ". | tojson",
            "to_entries | .[1].value.Tags",
            ".. | .Tags?",
            "getpath([\"Prop\" + \"erties\", \"Tags\"])",
            ".Type as $t | .",
            "def f: .; f",
            "keys",
            ".Properties # the tags\n.Tags",
            "{a: .Properties.Arn, b: .Properties}",
            ".[\"Prop\" + \"erties\"].Tags",
        ] {
            assert!(used(expression), "{expression}");
        }
        for expression in [
            "true",
            "null",
            "\"bucket\"",
            "\".Properties.Tags\"",
            ".Properties.Arn",
            ".Properties.Arn | split(\":\") | .[3]",
            ".Properties.Arn | sub(\"(?<x>.*)\"; \"\\(.x)\")",
            ".Properties.TagsCount",
            ".__ExtraContext.AccountId",
            "(.Properties.State.Name == \"running\")",
            "if .Properties.A == null then \"x\" else .Properties.B end",
            "\"arn:aws:s3:::\" + .Properties.BucketName",
            ".Properties.Vpc.Tags",
            "[.Properties.Groups[]?.Tags]",
            ".Properties.Groups | map(.Tags)",
            "{a: .Properties.Arn}",
            ".Properties.Size | tonumber * 1.5",
            "select(.Properties.Arn != null) | .Type",
        ] {
            assert!(!used(expression), "{expression}");
        }
    }

    #[test]
    fn everything_is_any_member() {
        assert!(Uses::Everything.is_used_by(".Properties.Arn"));
        assert!(!Uses::Everything.is_used_by("true"));
        assert!(!Uses::Everything.is_used_by(".__ExtraContext.Region == \"eu-west-1\""));
    }

    #[test]
    fn no_text_is_too_odd() {
        for expression in
            ["", "\"", "\"\\", "\"\\(", ".[\"", "[\"a", ")))", "((((", "end end", ";;", "…", ".…"]
        {
            _ = Uses::Everything.is_used_by(expression);
        }
    }
}
