//! Source files as tokens, so that comments and strings do not count as code.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A source file.
pub(super) struct Source {
    /// Its path in the repository.
    pub(super) name: String,
    pub(super) tokens: TokenStream,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Result<Self> {
        let tokens = text.parse().map_err(|error| anyhow!("{name} cannot be read as Rust: {error}"))?;
        Ok(Self { name: name.to_owned(), tokens })
    }

    /// Its crate in `host/` and its path in the sources of that, if it is one of them and holds no tests.
    pub(super) fn in_host(&self) -> Option<(&str, &str)> {
        let (krate, file) = self.name.strip_prefix("host/")?.split_once("/src/")?;
        let is_test = file.ends_with("tests.rs") || file.contains("tests/");
        (!is_test).then_some((krate, file))
    }
}

/// The tokens of one level, without those that only tests have. The item after `#[cfg(test)]` ends with `;` or
/// its braces.
pub(super) fn shipped(tokens: &TokenStream) -> Vec<TokenTree> {
    let mut shipped = Vec::new();
    let mut tokens = tokens.clone().into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_test = is_punct(&token, '#') && tokens.peek().is_some_and(is_cfg_test);
        if !is_test {
            shipped.push(token);
            continue;
        }
        let mut is_use = false;
        for token in tokens.by_ref() {
            is_use |= is_ident(&token, "use");
            if is_punct(&token, ';') || !is_use && braces(&token).is_some() {
                break;
            }
        }
    }
    shipped
}

fn is_cfg_test(token: &TokenTree) -> bool {
    token.to_string().replace(' ', "") == "[cfg(test)]"
}

pub(super) fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

pub(super) fn is_ident(token: &TokenTree, wanted: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == wanted)
}

pub(super) fn ident(token: &TokenTree) -> Option<String> {
    if let TokenTree::Ident(ident) = token { Some(ident.to_string()) } else { None }
}

pub(super) fn group(token: &TokenTree) -> Option<TokenStream> {
    if let TokenTree::Group(group) = token { Some(group.stream()) } else { None }
}

pub(super) fn braces(token: &TokenTree) -> Option<TokenStream> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group.stream()),
        _ => None,
    }
}
