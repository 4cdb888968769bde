//! Sources of values: placeholders, and texts with placeholders, as in the plan of a manifest.

use std::fmt::Write as _;

use berth_mapping::Expression;

/// A source of a value.
#[derive(Debug)]
pub(crate) enum Source {
    /// One placeholder that is a path: `{item.Name}`.
    Path(Vec<String>),
    /// One placeholder with an expression.
    Expression(Code),
    /// A text with placeholders.
    Template(Vec<Part>),
}

/// A part of a template.
#[derive(Debug)]
pub(crate) enum Part {
    Literal(String),
    Account,
    Region,
    Partition,
    /// A path that must have a text, and the name of what is missing otherwise.
    Path(Vec<String>, String),
    Expression(Code, String),
}

/// An expression in JQ, and the paths that it reads.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) text: String,
    pub(crate) paths: Vec<Vec<String>>,
    /// Whether it is a path and nothing else.
    pub(crate) is_path: bool,
}

impl Code {
    /// Reads an expression.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let parsed = Expression::parse(text)
            .ok_or_else(|| format!("`{text}` needs a whole JQ; implement `Mapper` in Rust for this kind"))?;
        Ok(Self { text: text.to_owned(), paths: parsed.paths().to_vec(), is_path: parsed.is_path() })
    }
}

impl Source {
    /// Reads a source; `below` is a path below its value.
    pub(crate) fn read(text: &str, below: &[String]) -> Result<Self, String> {
        let only = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        if let Some(code) = only.filter(|code| !code.contains(['{', '}'])) {
            let path = below.iter().fold(format!(".{code}"), |path, name| format!("{path}.{name}"));
            let code = Code::read(&path)?;
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
            parts.push(Part::Literal(literal.to_owned()));
            let (code, after) =
                hole.split_once('}').ok_or_else(|| format!("`{text}` has a brace that does not end"))?;
            parts.push(Part::read(code)?);
            rest = after;
        }
        parts.push(Part::Literal(rest.to_owned()));
        Ok(Self::Template(parts))
    }
}

impl Part {
    fn read(placeholder: &str) -> Result<Self, String> {
        Ok(match placeholder {
            "account" => Self::Account,
            "region" => Self::Region,
            "partition" => Self::Partition,
            _ => {
                let code = Code::read(&format!(".{placeholder}"))?;
                let name = code.paths.first().and_then(|path| path.last()).cloned().unwrap_or_default();
                match code.paths.as_slice() {
                    [path] if code.is_path => Self::Path(path.clone(), name),
                    _ => Self::Expression(code, name),
                }
            }
        })
    }
}

/// The expressions of a kind that are evaluated while it is mapped.
#[derive(Debug, Default)]
pub(crate) struct Statics {
    known: Vec<String>,
}

impl Statics {
    /// The name of the constant of an expression.
    pub(crate) fn name(&mut self, code: &str) -> String {
        let position = self.known.iter().position(|known| known == code).unwrap_or_else(|| {
            self.known.push(code.to_owned());
            self.known.len() - 1
        });
        format!("EXPRESSION_{position}")
    }

    /// The code of all constants.
    pub(crate) fn code(&self) -> String {
        let mut code = String::new();
        for (position, text) in self.known.iter().enumerate() {
            // Writing to a String cannot fail.
            _ = write!(code, "static EXPRESSION_{position}: Evaluation = Evaluation::of({text:?});");
        }
        code
    }
}

/// The code of a template: a `String`. `json` gives the code of a path, which is a `Json`.
pub(crate) fn template(
    parts: &[Part],
    statics: &mut Statics,
    json: &mut dyn FnMut(&[String]) -> String,
) -> String {
    let mut code = String::from("{ let mut text = ::std::string::String::new();");
    for part in parts {
        // Writing to a String cannot fail.
        _ = match part {
            Part::Literal(literal) if literal.is_empty() => Ok(()),
            Part::Literal(literal) => write!(code, "text.push_str({literal:?});"),
            Part::Account => write!(code, "text.push_str(&context.account_id);"),
            Part::Region => write!(code, "text.push_str(context.region.as_deref().unwrap_or_default());"),
            Part::Partition => write!(code, "text.push_str(&context.partition);"),
            Part::Path(path, name) => {
                write!(code, "text.push_str(&filled({}, {name:?})?);", json(path))
            }
            Part::Expression(expression, name) => {
                let value = evaluate(expression, statics, json);
                write!(code, "text.push_str(&filled_by(&{value}, {name:?})?);")
            }
        };
    }
    code + "text }"
}

/// The code of an expression's value: a `Computed`.
pub(crate) fn evaluate(
    code: &Code,
    statics: &mut Statics,
    json: &mut dyn FnMut(&[String]) -> String,
) -> String {
    let inputs: Vec<_> = code.paths.iter().map(|path| format!("{}.text()", json(path))).collect();
    format!("{}.evaluate(&[{}])?", statics.name(&code.text), inputs.join(", "))
}
