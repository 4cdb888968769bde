//! The code of values: placeholders, and texts with placeholders, as in the plan of a manifest.

use std::fmt::Write as _;

use berth_mapping::document::{SourceExpression, TemplatePart};

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
    parts: &[TemplatePart],
    statics: &mut Statics,
    json: &mut dyn FnMut(&[String]) -> String,
) -> String {
    let mut code = String::from("{ let mut text = ::std::string::String::new();");
    for part in parts {
        // Writing to a String cannot fail.
        _ = match part {
            TemplatePart::Literal(literal) if literal.is_empty() => Ok(()),
            TemplatePart::Literal(literal) => write!(code, "text.push_str({literal:?});"),
            TemplatePart::Account => write!(code, "text.push_str(&context.account_id);"),
            TemplatePart::Region => {
                write!(code, "text.push_str(context.region.as_deref().unwrap_or_default());")
            }
            TemplatePart::Partition => write!(code, "text.push_str(&context.partition);"),
            TemplatePart::Path(path, name) => {
                write!(code, "text.push_str(&filled({}, {name:?})?);", json(path))
            }
            TemplatePart::Expression(expression, name) => {
                let value = evaluate(expression, statics, json);
                write!(code, "text.push_str(&filled_by(&{value}, {name:?})?);")
            }
        };
    }
    code + "text }"
}

/// The code of an expression's value: a `Computed`.
pub(crate) fn evaluate(
    code: &SourceExpression,
    statics: &mut Statics,
    json: &mut dyn FnMut(&[String]) -> String,
) -> String {
    let inputs: Vec<_> = code.paths.iter().map(|path| format!("{}.text()", json(path))).collect();
    format!("{}.evaluate(&[{}])?", statics.name(&code.text), inputs.join(", "))
}
