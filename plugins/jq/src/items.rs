//! `itemsToParse`: splitting one document into several.

use jaq_json::{Map, Val};

use crate::{
    document::{Output, Paths, with_member},
    expression::Expression,
    write::write,
};

/// How a mapping splits documents.
pub(crate) struct ItemsToParse {
    list: Expression,
    name: String,
    removal: Removal,
}

enum Removal {
    /// The list stays in each item.
    Off,
    /// The list is removed from each item first.
    Path(Expression),
    /// No path to remove can be told from the expression: the whole document goes, so that nothing
    /// is left to map.
    Everything,
}

impl ItemsToParse {
    /// # Errors
    /// What is wrong with the expression.
    pub(crate) fn compile(expression: &str, name: &str, transform: bool) -> Result<Self, String> {
        // EvaluationResult on values: nothing needs to be found for them.
        let mut paths = Paths::default();
        let mut compile = |text: &str| Expression::compile(text, &mut paths);
        let removal = match list_path(expression) {
            _ if !transform => Removal::Off,
            Some(path) => Removal::Path(compile(&format!("del({path})"))?),
            None => Removal::Everything,
        };
        Ok(Self { list: compile(expression)?, name: name.to_owned(), removal })
    }

    /// The items of a document, as values and as texts: the document without the list, with one element of the
    /// list.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) fn split(&self, document: &Val) -> Result<impl Iterator<Item = (Val, Vec<u8>)>, String> {
        let elements = match self.list.evaluate_on(document)? {
            Some(Val::Arr(elements)) => elements,
            Some(other) => return Err(format!("gave {} instead of a list", Output::Value(other).shown())),
            None => return Err("gave nothing instead of a list".into()),
        };
        let rest = match &self.removal {
            Removal::Off => document.clone(),
            Removal::Path(removal) => removal.evaluate_on(document)?.unwrap_or_default(),
            Removal::Everything => return Err("names no path that could be removed from the document".into()),
        };
        let mut text = Vec::new();
        write(&rest, &mut text);
        let Val::Obj(rest) = rest else { return Err("leaves nothing of the document".into()) };
        let name = Val::utf8_str(self.name.clone());
        Ok((0..elements.len()).map(move |index| {
            let mut item = Map::clone(&rest);
            item.insert(name.clone(), elements[index].clone());
            let mut element = Vec::new();
            write(&elements[index], &mut element);
            (Val::obj(item), with_member(&text, &self.name, &element))
        }))
    }
}

/// The path that is removed, found as the integration that Berth replaces finds it: in the text.
///
/// Without one pair of outer parentheses, the expression is cut at every `|`; `.`, `. as $x` and
/// segments that begin with `$` are passed over; of the others the first that begins with a path
/// like `.a.b[0]` gives it.
fn list_path(expression: &str) -> Option<String> {
    let text = expression.trim();
    let text = text.strip_prefix('(').map_or(text, |inner| inner.strip_suffix(')').unwrap_or(inner));
    text.split('|')
        .map(str::trim)
        .filter(|segment| *segment != "." && !segment.starts_with('$') && !segment.starts_with(". as $"))
        .find_map(leading_path)
        .map(ToOwned::to_owned)
}

fn leading_path(segment: &str) -> Option<&str> {
    let mut end = 0;
    while let Some(step) = path_step(&segment[end..]) {
        end += step;
    }
    (end > 0).then(|| &segment[..end])
}

/// The length of a `.name` or `[0]` at the beginning of a text.
fn path_step(text: &str) -> Option<usize> {
    if let Some(name) = text.strip_prefix('.') {
        let length = name.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        (length > 0 && !name.as_bytes()[0].is_ascii_digit()).then_some(length + 1)
    } else {
        let digits = text.strip_prefix('[')?.bytes().take_while(u8::is_ascii_digit).count();
        (digits > 0 && text.as_bytes().get(digits + 1) == Some(&b']')).then_some(digits + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_removed_path_is_found_in_the_text() {
        for (expression, path) in [
            (".Properties.Tags", Some(".Properties.Tags")),
            ("(.Properties.Tags)", Some(".Properties.Tags")),
            (". as $root | .a.b[0].c[] | {x: .}", Some(".a.b[0].c")),
            (". | $x | .a | .b", Some(".a")),
            (".a // []", Some(".a")),
            ("[range(3)]", None),
            ("map(.a)", None),
            ("", None),
        ] {
            assert_eq!(list_path(expression).as_deref(), path, "{expression}");
        }
    }
}
