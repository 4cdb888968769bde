//! The forms of JQ that are known here.

use crate::{
    expression::{Comparison, Expression, Function, Term},
    identifier::PORT_IDENTIFIER_JQ,
    paths::{PathTree, Slot},
    text::small_integer,
};

/// How deep expressions may be nested.
const DEPTH: usize = 40;
/// How many steps an expression may have: sums and paths of many nest deeply, too.
const STEPS: usize = 400;

/// An expression that is known, before it takes its place in a mapping.
#[derive(Debug)]
pub struct Parsed {
    term: Term,
    paths: Vec<Vec<String>>,
}

impl Parsed {
    /// The expression, in a mapping that reads these paths.
    pub fn place(self, paths: &mut PathTree) -> Expression {
        self.place_at(|path| paths.add(path))
    }

    /// The expression, where `slot` says under which slot each path of the document is found.
    pub fn place_at(self, slot: impl FnMut(&Vec<String>) -> Slot) -> Expression {
        Expression { term: self.term, slots: self.paths.iter().map(slot).collect() }
    }

    /// The paths of the document that it reads.
    pub fn paths(&self) -> &[Vec<String>] {
        &self.paths
    }

    /// Whether it is a path of the document and nothing else.
    pub fn is_path(&self) -> bool {
        matches!(self.term, Term::Root(_))
    }
}

impl Expression {
    /// Reads an expression; `None` where it has a form that needs a whole JQ, or is none.
    pub fn parse(code: &str) -> Option<Parsed> {
        let mut parser = Parser { code, at: 0, depth: DEPTH, steps: STEPS, paths: Vec::new() };
        let term = parser.pipe(true)?;
        parser.space();
        if parser.at == code.len() { Some(Parsed { term, paths: parser.paths }) } else { None }
    }
}

struct Parser<'c> {
    code: &'c str,
    at: usize,
    depth: usize,
    steps: usize,
    paths: Vec<Vec<String>>,
}

/// In all methods, `root` is whether the input is the document.
impl<'c> Parser<'c> {
    fn rest(&self) -> &'c str {
        self.code.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_ascii_start().len();
    }

    /// Takes a text that comes next, without white space before it.
    fn here(&mut self, text: &str) -> bool {
        let is = self.rest().starts_with(text);
        self.at += if is { text.len() } else { 0 };
        is
    }

    /// Takes a sign that comes next.
    fn sign(&mut self, sign: &str) -> bool {
        self.space();
        self.here(sign)
    }

    /// A name that comes next, without white space before it.
    fn name(&mut self) -> Option<&'c str> {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let name = rest.get(..length)?;
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return None;
        }
        self.at += length;
        Some(name)
    }

    /// Takes a word that comes next.
    fn word(&mut self, word: &str) -> bool {
        self.space();
        let before = self.at;
        if self.name() == Some(word) {
            return true;
        }
        self.at = before;
        false
    }

    fn pipe(&mut self, root: bool) -> Option<Term> {
        self.depth = self.depth.checked_sub(1)?;
        let left = self.alternative(root)?;
        self.space();
        let term = if self.rest().starts_with('|') && !self.rest().starts_with("|=") {
            self.at += 1;
            Term::Pipe(left.into(), self.pipe(false)?.into())
        } else {
            left
        };
        self.depth += 1;
        Some(term)
    }

    fn alternative(&mut self, root: bool) -> Option<Term> {
        let mut terms = vec![self.or(root)?];
        loop {
            self.space();
            if !self.rest().starts_with("//") || self.rest().starts_with("//=") {
                break;
            }
            self.at += 2;
            terms.push(self.or(root)?);
        }
        let last = terms.pop()?;
        Some(terms.into_iter().rev().fold(last, |right, left| Term::Alternative(left.into(), right.into())))
    }

    fn or(&mut self, root: bool) -> Option<Term> {
        let mut left = self.and(root)?;
        while self.word("or") {
            left = Term::Or(single(left)?, single(self.and(root)?)?);
        }
        Some(left)
    }

    fn and(&mut self, root: bool) -> Option<Term> {
        let mut left = self.comparison(root)?;
        while self.word("and") {
            left = Term::And(single(left)?, single(self.comparison(root)?)?);
        }
        Some(left)
    }

    fn comparison(&mut self, root: bool) -> Option<Term> {
        let left = self.sum(root)?;
        let Some(comparison) = self.operator() else { return Some(left) };
        let right = self.sum(root)?;
        // They do not follow each other.
        if self.operator().is_some() {
            return None;
        }
        Some(Term::Compare(single(left)?, comparison, single(right)?))
    }

    fn operator(&mut self) -> Option<Comparison> {
        [
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ]
        .into_iter()
        .find_map(|(sign, comparison)| self.sign(sign).then_some(comparison))
    }

    fn sum(&mut self, root: bool) -> Option<Term> {
        let mut left = self.postfix(root)?;
        loop {
            self.space();
            if !self.rest().starts_with('+') || self.rest().starts_with("+=") {
                return Some(left);
            }
            self.at += 1;
            left = Term::Add(single(left)?, single(self.postfix(root)?)?);
        }
    }

    fn postfix(&mut self, root: bool) -> Option<Term> {
        self.space();
        let mut term = if self.rest().starts_with('.') { self.path(root)? } else { self.term(root)? };
        loop {
            self.steps = self.steps.checked_sub(1)?;
            if self.here(".[") || self.here("[") {
                term = self.bracket(term)?;
            } else if self.here(".") {
                term = Term::Field(term.into(), self.key()?);
            } else {
                return Some(term);
            }
        }
    }

    /// A path from the input: as far as its names go. What follows them is a postfix.
    fn path(&mut self, root: bool) -> Option<Term> {
        let mut names = Vec::new();
        self.at += 1;
        if !self.rest().starts_with('[') && self.starts_key() {
            names.push(self.key()?);
            while self.rest().starts_with('.') && !self.rest().starts_with(".[") {
                self.steps = self.steps.checked_sub(1)?;
                self.at += 1;
                names.push(self.key()?);
            }
        } else if self.rest().starts_with('.') {
            return None;
        }
        if root {
            self.paths.push(names);
            return Some(Term::Root(self.paths.len() - 1));
        }
        Some(names.into_iter().fold(Term::Input, |term, name| Term::Field(term.into(), name)))
    }

    fn starts_key(&self) -> bool {
        self.rest().starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_' || letter == '"')
    }

    /// A member's name, plain or quoted.
    fn key(&mut self) -> Option<String> {
        if self.rest().starts_with('"') { self.plain_text() } else { self.name().map(ToOwned::to_owned) }
    }

    /// What stands between brackets, of which the first is taken.
    fn bracket(&mut self, of: Term) -> Option<Term> {
        self.space();
        let term = if self.here("]") {
            return Some(Term::Each(of.into(), self.here("?")));
        } else if self.rest().starts_with('"') {
            Term::Field(of.into(), self.plain_text()?)
        } else {
            let rest = self.rest();
            let length = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'-').count();
            self.at += length;
            Term::Index(of.into(), small_integer(rest.get(..length)?)?)
        };
        self.sign("]").then_some(term)
    }

    fn term(&mut self, root: bool) -> Option<Term> {
        let rest = self.rest();
        match rest.as_bytes().first()? {
            b'"' => self.text(root),
            b'(' => {
                self.at += 1;
                let term = self.pipe(root)?;
                self.sign(")").then_some(term)
            }
            b'[' => {
                self.at += 1;
                if self.sign("]") {
                    return Some(Term::EmptyList);
                }
                let term = self.pipe(root)?;
                self.sign("]").then(|| Term::Collect(term.into()))
            }
            b'0'..=b'9' => {
                let length = rest.bytes().take_while(u8::is_ascii_digit).count();
                self.at += length;
                let number = small_integer(rest.get(..length)?)?;
                // What goes on is a fraction.
                let ends =
                    !self.rest().starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '.');
                ends.then_some(Term::Integer(number))
            }
            _ => self.call(root),
        }
    }

    fn call(&mut self, root: bool) -> Option<Term> {
        if self.here(PORT_IDENTIFIER_JQ) {
            return if root { None } else { Some(Term::Call(Function::PortIdentifier)) };
        }
        let name = self.name()?;
        if name == "if" {
            return self.condition(root);
        }
        if !self.here("(") {
            let term = Function::without(name)?;
            let constant = matches!(term, Term::Null | Term::Bool(_) | Term::Call(Function::Empty));
            // All others are on the input, which is no value at the outset.
            return (constant || !root).then_some(term);
        }
        let term = match name {
            "map" if !root => {
                let of = self.pipe(false)?;
                let each = Term::Each(Term::Input.into(), false);
                Term::Collect(Term::Pipe(each.into(), of.into()).into())
            }
            "select" if !root => Term::Call(Function::Select(single(self.pipe(false)?)?)),
            "any" if !root => Term::Call(Function::Any(single(self.pipe(false)?)?)),
            "all" if !root => Term::Call(Function::All(single(self.pipe(false)?)?)),
            "first" => Term::Call(Function::First(self.pipe(root)?.into())),
            _ if !root => {
                self.space();
                Term::Call(Function::of_text(name, self.plain_text()?)?)
            }
            _ => return None,
        };
        self.sign(")").then_some(term)
    }

    /// What follows `if`, or `elif`.
    fn condition(&mut self, root: bool) -> Option<Term> {
        self.depth = self.depth.checked_sub(1)?;
        let condition = *single(self.pipe(root)?)?;
        if !self.word("then") {
            return None;
        }
        let yes = self.pipe(root)?;
        let no = if self.word("elif") {
            self.condition(root)?
        } else {
            let no = if self.word("else") { self.pipe(root)? } else { return None };
            if !self.word("end") {
                return None;
            }
            no
        };
        self.depth += 1;
        Some(Term::If(Box::new([condition, yes, no])))
    }

    /// A text without values in it.
    fn plain_text(&mut self) -> Option<String> {
        match self.text(false)? {
            Term::Text(text) => Some(text),
            _ => None,
        }
    }

    fn text(&mut self, root: bool) -> Option<Term> {
        if !self.here("\"") {
            return None;
        }
        let (mut parts, mut text) = (Vec::new(), String::new());
        loop {
            let rest = self.rest();
            let plain = rest.find(|letter: char| letter == '"' || letter == '\\' || letter.is_control())?;
            text.push_str(&rest[..plain]);
            self.at += plain;
            if self.here("\"") {
                break;
            }
            if self.here("\\(") {
                parts.push(Term::Text(std::mem::take(&mut text)));
                parts.push(*single(self.pipe(root)?)?);
                if !self.sign(")") {
                    return None;
                }
            } else {
                text.push(self.escape()?);
            }
        }
        if parts.is_empty() {
            return Some(Term::Text(text));
        }
        parts.push(Term::Text(text));
        Some(Term::Template(parts))
    }

    fn escape(&mut self) -> Option<char> {
        if !self.here("\\") {
            return None;
        }
        let letter = self.rest().chars().next()?;
        self.at += letter.len_utf8();
        Some(match letter {
            '"' | '\\' | '/' => letter,
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let digits = self.rest().get(..4)?;
                let digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(digits)?;
                self.at += digits.len();
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        })
    }
}

/// A term that gives one value: of several, operators would give all pairs.
fn single(term: Term) -> Option<Box<Term>> {
    term.is_single().then(|| term.into())
}
