//! The two notations of a fetch plan: paths into JSON, and templates of request inputs.
//!
//! A path is the subset of JMESPath that selects values in responses: names joined by dots, `[]` to flatten
//! a list, `[n]` for one element. `@` or the empty text is the value itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A path that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{path}` is not a path: {reason} (a path is names joined by `.`, with `[]` to flatten a list, as in `Reservations[].Instances[]`)"
)]
pub struct PathError {
    /// The path as given.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A part of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSegment {
    /// A member.
    Name(String),
    /// Every element.
    Flatten,
    /// One element.
    Index(usize),
}

/// A parsed path.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path {
    text: String,
    segments: Vec<PathSegment>,
}

impl Path {
    /// Parses a path.
    ///
    /// # Errors
    /// [`PathError`] with the path and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = |reason| PathError { path: text.to_owned(), reason };
        let mut segments = Vec::new();
        if !matches!(text, "" | "@") {
            for part in text.split('.') {
                let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
                if name.is_empty() && (rest.is_empty() || !segments.is_empty()) {
                    return Err(error("a name is missing"));
                }
                if !name.is_empty() {
                    if !name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
                        return Err(error("a name has a character that is not a letter, digit, `_` or `-`"));
                    }
                    segments.push(PathSegment::Name(name.to_owned()));
                }
                while let Some(after) = rest.strip_prefix('[') {
                    let (index, after) = after.split_once(']').ok_or_else(|| error("a `[` is not closed"))?;
                    segments.push(match index {
                        "" => PathSegment::Flatten,
                        n => PathSegment::Index(n.parse().map_err(|_| error("an index is not a number"))?),
                    });
                    rest = after;
                }
                if !rest.is_empty() {
                    return Err(error("unexpected text after a `]`"));
                }
            }
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// Returns the path as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns its segments, outermost first.
    pub fn segments(&self) -> &[PathSegment] {
        &self.segments
    }

    /// Returns whether the path may yield several values.
    pub fn is_list(&self) -> bool {
        self.segments.contains(&PathSegment::Flatten)
    }

    /// Returns the path `@`: the value itself.
    pub fn itself() -> Self {
        Self { text: "@".to_owned(), segments: Vec::new() }
    }

    /// Returns the path of the elements of a list member: `name[]`.
    pub fn list_of(name: &str) -> Self {
        Self {
            text: format!("{name}[]"),
            segments: vec![PathSegment::Name(name.to_owned()), PathSegment::Flatten],
        }
    }

    /// Returns whether the path selects the value itself.
    pub fn is_itself(&self) -> bool {
        self.segments.is_empty()
    }

    /// Returns the segments up to the first list; all segments if there is no list.
    pub fn to_first_list(&self) -> &[PathSegment] {
        let end = self.segments.iter().position(|segment| *segment == PathSegment::Flatten);
        &self.segments[..end.unwrap_or(self.segments.len())]
    }

    /// Returns the first list on the path; without a list on it, the value at the path. `None` if the value
    /// has no such member, if the member is null, or if it is not a list where the path needs one.
    pub fn list_in<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        let mut found = None;
        walk(self.to_first_list(), value, &mut |value| found = Some(value));
        found.filter(|value| if self.is_list() { value.is_array() } else { !value.is_null() })
    }

    /// Returns all values at the path, in order. A missing name or a value of another type yields none.
    pub fn all<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = Vec::new();
        walk(&self.segments, value, &mut |value| found.push(value));
        found
    }

    /// Returns the first value at the path.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.all(value).into_iter().next()
    }

    /// Moves the values at the path out of a document and leaves nulls behind, to get a page's items
    /// without copying them.
    pub fn take_all(&self, value: &mut Value) -> Vec<Value> {
        let mut found = Vec::new();
        walk_mut(&self.segments, value, &mut |value| found.push(value.take()));
        found
    }
}

fn walk<'v>(segments: &[PathSegment], value: &'v Value, visit: &mut dyn FnMut(&'v Value)) {
    match segments.split_first() {
        None => visit(value),
        Some((PathSegment::Name(name), rest)) => {
            if let Some(value) = value.get(name.as_str()) {
                walk(rest, value, visit);
            }
        }
        Some((PathSegment::Index(index), rest)) => {
            if let Some(value) = value.get(*index) {
                walk(rest, value, visit);
            }
        }
        Some((PathSegment::Flatten, rest)) => {
            for value in value.as_array().into_iter().flatten() {
                walk(rest, value, visit);
            }
        }
    }
}

fn walk_mut(segments: &[PathSegment], value: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    match segments.split_first() {
        None => visit(value),
        Some((PathSegment::Name(name), rest)) => {
            if let Some(value) = value.get_mut(name.as_str()) {
                walk_mut(rest, value, visit);
            }
        }
        Some((PathSegment::Index(index), rest)) => {
            if let Some(value) = value.get_mut(*index) {
                walk_mut(rest, value, visit);
            }
        }
        Some((PathSegment::Flatten, rest)) => {
            for value in value.as_array_mut().into_iter().flatten() {
                walk_mut(rest, value, visit);
            }
        }
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl TryFrom<String> for Path {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.text
    }
}

/// Resolves the root names of a template's placeholders.
pub trait TemplateScope {
    /// Returns the value of a root name (`item`, `account`, …), if it is known.
    fn root(&self, name: &str) -> Option<&Value>;
}

impl TemplateScope for Map<String, Value> {
    fn root(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

/// A JSON value in whose strings `{path}` stands for a value known at request time.
///
/// A string that is a single placeholder takes the value with its type (a path with `[]` yields a list);
/// inside a longer string the value is formatted as text. `{{` and `}}` are literal braces. If a member is
/// a single placeholder without a value, the member is omitted from its object, so that an optional input
/// is not sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Literal(Value),
    Placeholder(Reference),
    Text(Vec<Piece>),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Reference(Reference),
}

#[derive(Debug, Clone, PartialEq)]
struct Reference {
    root: String,
    path: Path,
    list: bool,
}

impl Reference {
    fn parse(text: &str) -> Result<Self, PathError> {
        let end = text.find(['.', '[']).unwrap_or(text.len());
        let (root, rest) = text.split_at(end);
        if root.is_empty() {
            return Err(PathError { path: text.to_owned(), reason: "a placeholder needs a name" });
        }
        let path = Path::parse(rest.strip_prefix('.').unwrap_or(rest))?;
        Ok(Self { root: root.to_owned(), list: path.is_list(), path })
    }

    fn value(&self, scope: &dyn TemplateScope) -> Option<Value> {
        let root = scope.root(&self.root)?;
        if self.list {
            return Some(Value::Array(self.path.all(root).into_iter().cloned().collect()));
        }
        self.path.first(root).filter(|value| !value.is_null()).cloned()
    }
}

impl Template {
    /// Compiles a JSON value.
    ///
    /// # Errors
    /// [`PathError`] for a placeholder that is not a path, or an unclosed brace.
    pub fn parse(value: &Value) -> Result<Self, PathError> {
        Node::parse(value).map(Self)
    }

    /// Returns the root names of the placeholders, with duplicates.
    pub fn roots(&self) -> Vec<&str> {
        let mut roots = Vec::new();
        self.0.roots(&mut roots);
        roots
    }

    /// Fills the placeholders. `None` if the whole template is a single placeholder without a value.
    pub fn render(&self, scope: &dyn TemplateScope) -> Option<Value> {
        self.0.render(scope)
    }
}

impl Node {
    fn parse(value: &Value) -> Result<Self, PathError> {
        Ok(match value {
            Value::String(text) => Self::parse_text(text)?,
            Value::Array(values) => Self::Array(values.iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(members) => Self::Object(
                members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Self::parse(value)?)))
                    .collect::<Result<_, PathError>>()?,
            ),
            other => Self::Literal(other.clone()),
        })
    }

    fn parse_text(text: &str) -> Result<Self, PathError> {
        let error = |reason| PathError { path: text.to_owned(), reason };
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some(after) = from.strip_prefix('{') {
                let (inside, after) = after.split_once('}').ok_or_else(|| error("a `{` is not closed"))?;
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Reference(Reference::parse(inside)?));
                rest = after;
            } else {
                return Err(error("a `}` closes nothing (write `}}` for a literal brace)"));
            }
        }
        literal.push_str(rest);
        if pieces.is_empty() {
            return Ok(Self::Literal(Value::String(literal)));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(match <[Piece; 1]>::try_from(pieces) {
            Ok([Piece::Reference(reference)]) => Self::Placeholder(reference),
            Ok(pieces) => Self::Text(pieces.into()),
            Err(pieces) => Self::Text(pieces),
        })
    }

    fn roots<'t>(&'t self, roots: &mut Vec<&'t str>) {
        match self {
            Self::Literal(_) => {}
            Self::Placeholder(reference) => roots.push(&reference.root),
            Self::Text(pieces) => roots.extend(pieces.iter().filter_map(|piece| match piece {
                Piece::Reference(reference) => Some(reference.root.as_str()),
                Piece::Text(_) => None,
            })),
            Self::Array(nodes) => nodes.iter().for_each(|node| node.roots(roots)),
            Self::Object(members) => members.iter().for_each(|(_, node)| node.roots(roots)),
        }
    }

    fn render(&self, scope: &dyn TemplateScope) -> Option<Value> {
        Some(match self {
            Self::Literal(value) => value.clone(),
            Self::Placeholder(reference) => return reference.value(scope),
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(literal) => text.push_str(literal),
                        Piece::Reference(reference) => match reference.value(scope) {
                            Some(Value::String(value)) => text.push_str(&value),
                            Some(value) => text.push_str(&value.to_string()),
                            None => {}
                        },
                    }
                }
                Value::String(text)
            }
            Self::Array(nodes) => Value::Array(nodes.iter().filter_map(|node| node.render(scope)).collect()),
            Self::Object(members) => Value::Object(
                members.iter().filter_map(|(name, node)| Some((name.clone(), node.render(scope)?))).collect(),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_select() {
        let document = json!({"Reservations": [
            {"Id": "a", "Instances": [{"InstanceId": "i-1"}, {"InstanceId": "i-2"}]},
            {"Id": "b"},
            {"Id": "c", "Instances": [{"InstanceId": "i-3"}]}
        ], "Next": null});
        let select = |path: &str| json!(Path::parse(path).unwrap().all(&document));
        assert_eq!(select("Reservations[].Instances[].InstanceId"), json!(["i-1", "i-2", "i-3"]));
        assert_eq!(select("Reservations[0].Id"), json!(["a"]));
        assert_eq!(select("Reservations[].Missing"), json!([]));
        assert_eq!(select("Next"), json!([null]));
        assert_eq!(select("@"), json!([document]));
        let mut owned = document.clone();
        let taken = Path::parse("Reservations[]").unwrap().take_all(&mut owned);
        assert_eq!(taken.len(), 3);
        assert_eq!(owned["Reservations"], json!([null, null, null]));
        assert_eq!(Path::parse("[].a").unwrap().all(&json!([{"a": 1}])), [&json!(1)]);
    }

    #[test]
    fn invalid_paths_have_a_reason() {
        for (path, reason) in [
            ("a..b", "a name is missing"),
            ("a.", "a name is missing"),
            ("a[", "not closed"),
            ("a[x]", "not a number"),
            ("a[]b", "after a `]`"),
            ("a b", "a character"),
        ] {
            let error = Path::parse(path).unwrap_err().to_string();
            assert!(error.contains(reason), "{path}: {error}");
        }
    }

    #[test]
    fn templates_are_rendered() {
        let template = Template::parse(&json!({
            "Bucket": "{item.Name}",
            "Ids": "{items[].Id}",
            "Arns": "{items[]}",
            "Missing": "{item.Nope}",
            "resourceArn": "arn:{partition}:x:{region}:{account}:app:{item.Name}/{item.Count}",
            "literal": "{{x}}",
            "flag": true,
            "nested": [{"a": "{region}"}]
        }))
        .unwrap();
        let scope = json!({"item": {"Name": "n", "Count": 3}, "items": [{"Id": 1}, {"Id": 2}],
            "partition": "aws", "region": "eu-west-1", "account": "111122223333"});
        assert_eq!(
            template.render(scope.as_object().unwrap()).unwrap(),
            json!({"Bucket": "n", "Ids": [1, 2], "Arns": [{"Id": 1}, {"Id": 2}],
                "resourceArn": "arn:aws:x:eu-west-1:111122223333:app:n/3", "literal": "{x}",
                "flag": true, "nested": [{"a": "eu-west-1"}]})
        );
        assert!(template.roots().contains(&"partition"));
        assert!(Template::parse(&json!("{open")).is_err());
        assert!(Template::parse(&json!("close}")).is_err());
        assert!(Template::parse(&json!("{}")).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a{}\\[\\].@ 0-9]{0,24}") {
            if let Ok(path) = Path::parse(&text) {
                prop_assert_eq!(path.as_str(), text.as_str());
            }
            let _ = Template::parse(&Value::String(text));
        }
    }
}
