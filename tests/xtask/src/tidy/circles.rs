//! Cycles of modules in a crate of `host/`: no path may lead from a module through others back to it. A module and
//! its submodules may use each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proc_macro2::{TokenStream, TokenTree};

use super::code::{Source, braces, group, ident, is_ident, is_punct, shipped};

/// A module or a name in one, from the root of its crate.
type Path = Vec<String>;

#[derive(Default)]
struct Module {
    /// What its code names, as absolute paths.
    names: Vec<Path>,
    /// What it imports, by the name that it has here.
    imports: BTreeMap<String, Path>,
}

/// The modules of a crate.
#[derive(Default)]
struct Crate(BTreeMap<Path, Module>);

/// One circle for each group of modules that know each other.
pub(super) fn circles(sources: &[Source]) -> Vec<String> {
    let mut crates: BTreeMap<&str, Crate> = BTreeMap::new();
    for source in sources {
        let Some((krate, file)) = source.in_host() else { continue };
        let mut path: Path = file.trim_end_matches(".rs").split('/').map(ToOwned::to_owned).collect();
        if matches!(path.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            path.pop();
        }
        crates.entry(krate).or_default().add(&path, &source.tokens);
    }
    crates.iter().flat_map(|(name, krate)| krate.circles(name)).collect()
}

impl Crate {
    fn add(&mut self, at: &Path, tokens: &TokenStream) {
        self.0.entry(at.clone()).or_default();
        let tokens = shipped(tokens);
        let mut next = 0;
        while let Some(token) = tokens.get(next) {
            next += 1;
            let inner = (is_ident(token, "mod"), tokens.get(next).and_then(ident), tokens.get(next + 1));
            if let (true, Some(name), Some(body)) = inner
                && let Some(body) = braces(body)
            {
                self.add(&[at.as_slice(), &[name]].concat(), &body);
                next += 2;
            } else if is_ident(token, "use") {
                let end = tokens[next..].iter().position(|token| is_punct(token, ';'));
                let end = end.map_or(tokens.len(), |end| next + end);
                let mut leaves = Vec::new();
                leaves_of(&tokens[next..end], &[], &mut leaves);
                next = end;
                self.import(at, leaves);
            } else if let Some(inner) = group(token) {
                self.add(at, &inner);
            } else if is_ident(token, "crate") || is_ident(token, "super") || is_ident(token, "self") {
                let (path, length) = path_at(&tokens[next - 1..]);
                next += length - 1;
                if path.len() > 1
                    && let Some(path) = absolute(at, &path)
                {
                    self.0.entry(at.clone()).or_default().names.push(path);
                }
            }
        }
    }

    fn import(&mut self, at: &Path, leaves: Vec<(Path, String)>) {
        let module = self.0.entry(at.clone()).or_default();
        for (path, name) in leaves {
            // What begins with another name is of a module in this one, or of another crate.
            let path = absolute(at, &path).unwrap_or_else(|| [at.as_slice(), &path].concat());
            module.names.push(path.clone());
            module.imports.insert(name, path);
        }
    }

    /// The module that a path leads to, through what modules on the way import.
    fn module_of(&self, path: &Path, steps: usize) -> Option<Path> {
        let mut module = Path::new();
        for (at, name) in path.iter().enumerate() {
            let inner = [module.as_slice(), std::slice::from_ref(name)].concat();
            if self.0.contains_key(&inner) {
                module = inner;
                continue;
            }
            let import = self.0.get(&module)?.imports.get(name);
            return match import {
                Some(import) if import != path && steps > 0 => {
                    self.module_of(&[import.as_slice(), &path[at + 1..]].concat(), steps - 1)
                }
                _ => Some(module),
            };
        }
        Some(module)
    }

    fn circles(&self, name: &str) -> Vec<String> {
        let mut known: BTreeMap<Path, BTreeSet<Path>> = BTreeMap::new();
        for (from, module) in &self.0 {
            for to in module.names.iter().filter_map(|path| self.module_of(path, 8)) {
                if !from.starts_with(&to) && !to.starts_with(from) {
                    known.entry(from.clone()).or_default().insert(to);
                }
            }
        }
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        for start in known.keys() {
            if let Some(circle) = shortest(&known, start).filter(|_| !seen.contains(start)) {
                let way: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
                found.push(format!(
                    "host/{name} has a circle of modules: {}: move what both need to a module of its own",
                    way.join(" → ")
                ));
                seen.extend(circle);
            }
        }
        found
    }
}

/// The shortest way from a module back to it.
fn shortest(known: &BTreeMap<Path, BTreeSet<Path>>, start: &Path) -> Option<Vec<Path>> {
    let mut ways = VecDeque::from([vec![start.clone()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in known.get(way.last()?).into_iter().flatten() {
            let longer = [way.as_slice(), std::slice::from_ref(next)].concat();
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push_back(longer);
            }
        }
    }
    None
}

/// The path that tokens begin with, and how many tokens it has.
fn path_at(tokens: &[TokenTree]) -> (Path, usize) {
    let mut path = Path::new();
    let mut length = 0;
    while let Some(name) = tokens.get(length).and_then(ident) {
        path.push(name);
        length += 1;
        let goes_on =
            tokens.get(length..length + 2).is_some_and(|next| next.iter().all(|next| is_punct(next, ':')));
        if !goes_on {
            break;
        }
        length += 2;
    }
    (path, length)
}

/// A path from the root of the crate; `None` for one that begins with another name.
fn absolute(at: &Path, path: &[String]) -> Option<Path> {
    let (first, rest) = path.split_first()?;
    let mut base = match first.as_str() {
        "crate" => Path::new(),
        "self" => at.clone(),
        "super" => at.split_last()?.1.to_vec(),
        _ => return None,
    };
    let more = rest.iter().take_while(|name| *name == "super").count();
    base.truncate(base.len().checked_sub(more)?);
    base.extend_from_slice(&rest[more..]);
    Some(base)
}

/// What a `use` names: each path, and the name that it gets.
fn leaves_of(tokens: &[TokenTree], prefix: &[String], leaves: &mut Vec<(Path, String)>) {
    for tree in tokens.split(|token| is_punct(token, ',')) {
        let (names, length) = path_at(tree);
        let path = [prefix, &names].concat();
        if let Some(inner) = tree.get(length).and_then(braces) {
            let inner: Vec<TokenTree> = inner.into_iter().collect();
            leaves_of(&inner, &path, leaves);
            continue;
        }
        let is_own = path.len() > 1 && path.last().is_some_and(|name| name == "self");
        let path = if is_own { path[..path.len() - 1].to_vec() } else { path };
        let alias =
            tree.get(length).filter(|token| is_ident(token, "as")).and(tree.get(length + 1)).and_then(ident);
        if let Some(name) = alias.or_else(|| path.last().cloned()) {
            leaves.push((path, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(file, text)| Source::new(&format!("host/a/src/{file}"), text).unwrap())
            .collect();
        circles(&sources)
    }

    fn is_open(files: &[(&str, &str)]) {
        assert_eq!(found(files), Vec::<String>::new());
    }

    #[test]
    fn a_circle_is_printed() {
        let found = found(&[
            ("lib.rs", "mod one; mod two; mod three;"),
            ("one.rs", "use std::fmt; use crate::{fmt::X, two::deep::Two};"),
            ("two.rs", "mod deep;"),
            ("two/deep.rs", "fn f() { let _ = super::super::three::Three; }"),
            ("three.rs", "fn f() { vec![crate::one::One] }"),
        ]);
        assert_eq!(
            found,
            [
                "host/a has a circle of modules: one → two::deep → three → one: move what both need to a module of its own"
            ]
        );
    }

    #[test]
    fn a_circle_through_a_reexport_or_among_inner_modules_is_found() {
        let through = found(&[
            ("lib.rs", "mod one; mod two; pub use one::{Inner as One}; pub(crate) use two::Two;"),
            ("one.rs", "use crate::Two; pub struct Inner;"),
            ("two.rs", "pub struct Two(super::One);"),
        ]);
        assert_eq!(through.len(), 1, "{through:?}");
        let inner = found(&[
            ("outer/mod.rs", "mod one { use super::two; } mod two { fn f() -> super::one::One {} }"),
            ("lib.rs", "mod outer;"),
        ]);
        assert!(inner.len() == 1 && inner[0].contains("outer::one → outer::two → outer::one"), "{inner:?}");
    }

    #[test]
    fn parent_and_child_tests_and_other_crates_make_no_circle() {
        is_open(&[
            ("lib.rs", "mod one; pub struct Root; use one::{self, Part};"),
            ("one.rs", "mod part; pub use part::Part; use crate::Root; pub struct Whole;"),
            ("one/part.rs", "use super::Whole; use crate::{Root, one::Whole as Same};"),
        ]);
        is_open(&[
            ("lib.rs", "mod one; mod two;"),
            ("one.rs", "use crate::two::Two;"),
            (
                "two.rs",
                "#[cfg(test)] mod tests { use crate::one::One; } #[cfg(test)] use crate::one::{Two}; fn f() {}",
            ),
            ("two/tests.rs", "use crate::one::One;"),
            ("two/more.rs", "use one::One; /// See crate::one::One.\nfn f() { self.one() }"),
        ]);
    }
}
