//! Names: each type of the host has its own, and none of them contains `told`.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};

use super::code::{Source, group, ident, is_ident, is_punct, shipped};

/// What declares a type.
const TYPES: &[&str] = &["enum", "struct", "trait", "type", "union"];

/// Words that do not say what is done: report, render, format, log, emit.
const VAGUE: &[&str] = &["told", "tell", "tells", "telling", "untold"];

/// A function of WASI.
const NOT_OURS: &[&str] = &["fd_tell"];

/// Types that other modules see, and that have the name of another one in `host/`. What stands for a module on
/// other platforms has its names.
pub(super) fn unique(sources: &[Source]) -> Vec<String> {
    let alternatives: BTreeSet<String> = sources.iter().flat_map(alternatives).collect();
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.in_host().is_some()) {
        if alternatives.contains(&source.name) {
            continue;
        }
        let mut types = Vec::new();
        visible_types(&source.tokens, &mut types);
        for name in types {
            places.entry(name).or_default().push(&source.name);
        }
    }
    let twice = places.into_iter().filter(|(_, files)| files.len() > 1);
    twice
        .map(|(name, files)| {
            format!("the type `{name}` is in {}: give each a name that says what it is", files.join(" and "))
        })
        .collect()
}

/// The types that are `pub`, `pub(crate)` or the like.
fn visible_types(tokens: &TokenStream, found: &mut Vec<String>) {
    let tokens = shipped(tokens);
    for (at, token) in tokens.iter().enumerate() {
        if let Some(inner) = group(token) {
            visible_types(&inner, found);
        }
        if !is_ident(token, "pub") {
            continue;
        }
        let mut rest =
            tokens[at + 1..].iter().skip_while(|next| group(next).is_some() || is_ident(next, "unsafe"));
        let declares = rest.next().and_then(ident).is_some_and(|word| TYPES.contains(&word.as_str()));
        if declares && let Some(name) = rest.next().and_then(ident) {
            found.push(name);
        }
    }
}

/// The files that a source names as those of a module on some platforms: `#[cfg_attr(…, path = "…")]`.
fn alternatives(source: &Source) -> Vec<String> {
    let folder = source.name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut paths = Vec::new();
    let mut look = |attribute: &TokenStream| {
        let tokens: Vec<TokenTree> = attribute.clone().into_iter().collect();
        let is_conditional = tokens.first().is_some_and(|token| is_ident(token, "cfg_attr"));
        let arguments: Vec<TokenTree> =
            tokens.get(1).and_then(group).into_iter().flat_map(TokenStream::into_iter).collect();
        for value in arguments.windows(3).filter(|_| is_conditional) {
            if is_ident(&value[0], "path") && is_punct(&value[1], '=') {
                paths.push(format!("{folder}/{}", value[2].to_string().trim_matches('"')));
            }
        }
    };
    for token in source.tokens.clone() {
        if let Some(attribute) = group(&token) {
            look(&attribute);
        }
    }
    paths
}

/// Names of anything with a word that does not say what is done.
pub(super) fn words(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        let mut names = BTreeSet::new();
        identifiers(&source.tokens, &mut names);
        let vague = names.into_iter().filter(|name| is_vague(name) && !NOT_OURS.contains(&name.as_str()));
        offences.extend(vague.map(|name| {
            format!("{}: `{name}`: say what is done, as in `report`, `render`, `format`, `log`", source.name)
        }));
    }
    offences
}

fn identifiers(tokens: &TokenStream, names: &mut BTreeSet<String>) {
    for token in tokens.clone() {
        if let Some(inner) = group(&token) {
            identifiers(&inner, names);
        }
        names.extend(ident(&token));
    }
}

/// Whether one of the words that a name is made of is vague: `is_told`, `ToldOff`, `TOLD`.
fn is_vague(name: &str) -> bool {
    let mut words = vec![String::new()];
    let mut before = '_';
    for c in name.chars() {
        if c == '_' || c.is_uppercase() && before.is_lowercase() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c != '_') {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.iter().any(|word| VAGUE.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        files.iter().map(|(name, text)| Source::new(name, text).unwrap()).collect()
    }

    #[test]
    fn a_visible_type_with_the_name_of_another_is_found() {
        let found = unique(&sources(&[
            ("host/a/src/lib.rs", "mod inner { pub(super) struct Session<'a>(&'a str); } pub struct Alone;"),
            (
                "host/b/src/deep/x.rs",
                "pub(crate) enum Session { A } struct Alone; /// pub struct Alone\nfn f() {}",
            ),
            (
                "host/c/src/x.rs",
                "#[cfg(test)] mod t { pub struct Session; } const A: &str = \"pub struct Alone\";",
            ),
            ("host/c/src/x/tests.rs", "pub(super) struct Session;"),
            ("host/c/tests/x.rs", "pub struct Session;"),
            ("tests/support/src/lib.rs", "pub struct Session;"),
        ]));
        assert_eq!(
            found,
            [
                "the type `Session` is in host/a/src/lib.rs and host/b/src/deep/x.rs: give each a name that says what \
              it is"
            ]
        );
        for declaration in
            ["pub trait T {}", "pub unsafe trait T {}", "pub type T = u8;", "pub(in crate::x) union T {}"]
        {
            let found = unique(&sources(&[
                ("host/a/src/lib.rs", declaration),
                ("host/b/src/lib.rs", "pub struct T;"),
            ]));
            assert_eq!(found.len(), 1, "{declaration}");
        }
    }

    #[test]
    fn a_module_has_the_same_names_on_each_platform() {
        let module = "#[cfg_attr(not(target_os = \"linux\"), path = \"isolation/elsewhere.rs\")] mod pool;";
        let pool = ("host/a/src/isolation/pool.rs", "pub struct Pool;");
        let elsewhere = ("host/a/src/isolation/elsewhere.rs", "pub enum Pool {}");
        let with = |module| unique(&sources(&[("host/a/src/isolation.rs", module), pool, elsewhere])).len();
        assert_eq!((with(module), with("mod pool; mod elsewhere;")), (0, 1));
    }

    #[test]
    fn a_name_that_does_not_say_what_is_done_is_found() {
        let found = words(&sources(&[
            ("host/a/src/lib.rs", "/// It is told.\nfn a() { let untold = \"told\"; self.tell_port(); }"),
            ("tests/a.rs", "#[test] fn a_thing_is_told() { Told::new(TOLD_LINES) }"),
            ("tests/b.rs", "fn fd_tell(teller: Satellite, retold: u8) {}"),
        ]));
        let names: Vec<&str> = found.iter().map(|offence| offence.split('`').nth(1).unwrap()).collect();
        assert_eq!(names, ["tell_port", "untold", "TOLD_LINES", "Told", "a_thing_is_told"]);
        assert!(found[0].starts_with("host/a/src/lib.rs: `tell_port`: "), "{}", found[0]);
    }
}
