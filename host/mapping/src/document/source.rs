//! Sources of values: placeholders, and texts with placeholders, as in the plan of a manifest.

use crate::Expression;

/// A source of a value.
#[derive(Debug, Clone)]
pub enum ValueSource {
    /// One placeholder that is a path: `{item.Name}`.
    Path(Vec<String>),
    /// One placeholder with an expression.
    Expression(SourceExpression),
    /// A text with placeholders.
    Template(Vec<TemplatePart>),
}

/// A part of a template.
#[derive(Debug, Clone)]
pub enum TemplatePart {
    /// A text that stays as it is.
    Literal(String),
    /// The account that is read.
    Account,
    /// The region that is read; empty for a kind that is not regional.
    Region,
    /// The partition of AWS.
    Partition,
    /// A path that must have a text, and the name of what is missing otherwise.
    Path(Vec<String>, String),
    /// An expression that must give a text, and the name of what is missing otherwise.
    Expression(SourceExpression, String),
}

/// An expression in JQ, and the paths that it reads.
#[derive(Debug, Clone)]
pub struct SourceExpression {
    /// Its text.
    pub text: String,
    /// The paths that it reads, in their order.
    pub paths: Vec<Vec<String>>,
    /// Whether it is a path and nothing else.
    pub is_path: bool,
}

impl SourceExpression {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it needs a whole JQ.
    pub fn read(text: &str) -> Result<Self, String> {
        let parsed = Expression::parse(text).ok_or_else(|| format!("`{text}` needs a whole JQ"))?;
        Ok(Self { text: text.to_owned(), paths: parsed.paths().to_vec(), is_path: parsed.is_path() })
    }
}

impl ValueSource {
    /// Reads a source; `below` is a path below its value.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(text: &str, below: &[String]) -> Result<Self, String> {
        let only = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        if let Some(code) = only.filter(|code| !code.contains(['{', '}'])) {
            let path = below.iter().fold(format!(".{code}"), |path, name| format!("{path}.{name}"));
            let code = SourceExpression::read(&path)?;
            return Ok(match code.paths.as_slice() {
                [path] if code.is_path => Self::Path(path.clone()),
                _ => Self::Expression(code),
            });
        }
        if !below.is_empty() {
            return Err(format!("`{text}` is a text, which has no `{}`", below.join(".")));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, hole)) = rest.split_once('{') {
            parts.push(TemplatePart::Literal(literal.to_owned()));
            let (code, after) =
                hole.split_once('}').ok_or_else(|| format!("`{text}` has a brace that does not end"))?;
            parts.push(TemplatePart::read(code)?);
            rest = after;
        }
        parts.push(TemplatePart::Literal(rest.to_owned()));
        Ok(Self::Template(parts))
    }
}

impl TemplatePart {
    fn read(placeholder: &str) -> Result<Self, String> {
        Ok(match placeholder {
            "account" => Self::Account,
            "region" => Self::Region,
            "partition" => Self::Partition,
            _ => {
                let code = SourceExpression::read(&format!(".{placeholder}"))?;
                let name = code.paths.first().and_then(|path| path.last()).cloned().unwrap_or_default();
                match code.paths.as_slice() {
                    [path] if code.is_path => Self::Path(path.clone(), name),
                    _ => Self::Expression(code, name),
                }
            }
        })
    }
}
