//! Sources that are evaluated while a resource is read.

use std::borrow::Cow;

use super::{super::TemplatePart, BatchContext};
use crate::{EvaluationResult, Expression, Found, Slot, State, append_str, text::string};

/// Why a resource of an unforeseen shape is refused.
pub(super) const SHAPE: &str = "it does not have the shape that the mapping reads";

/// A source that is evaluated.
#[derive(Debug)]
pub(super) struct Computed {
    pub(super) form: ComputedForm,
    /// Whether the resource is refused where it gives nothing.
    pub(super) is_needed: bool,
    /// Whether the mapping reads it.
    pub(super) is_read: bool,
}

#[derive(Debug)]
pub(super) enum ComputedForm {
    Expression(Expression),
    Template(Vec<PlacedPart>),
}

#[derive(Debug)]
pub(super) enum PlacedPart {
    Text(TemplatePart),
    Slot(Slot, String),
    Expression(Expression, String),
}

impl Computed {
    /// Whether it is a text with placeholders.
    pub(super) fn is_template(&self) -> bool {
        matches!(self.form, ComputedForm::Template(_))
    }

    /// The value as JSON; none where there is none.
    pub(super) fn evaluate(
        &self,
        found: &Found<'_>,
        context: &BatchContext,
    ) -> Result<Option<String>, String> {
        match &self.form {
            ComputedForm::Expression(expression) => match expression.evaluate(found) {
                EvaluationResult::Value(value) => Ok(Some(json(&value))),
                EvaluationResult::Nothing | EvaluationResult::Failed => Ok(None),
                EvaluationResult::Deferred => Err(SHAPE.to_owned()),
            },
            ComputedForm::Template(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        PlacedPart::Text(part) => text.push_str(literal(part, context)),
                        PlacedPart::Slot(slot, name) => match found.state(*slot) {
                            State::Text(json) => text.push_str(&filled(json, name)?),
                            _ => return Err(format!("it has no `{name}`")),
                        },
                        PlacedPart::Expression(expression, name) => match expression.evaluate(found) {
                            EvaluationResult::Value(value) => text.push_str(&filled(&json(&value), name)?),
                            _ => return Err(format!("it has no `{name}`")),
                        },
                    }
                }
                Ok(Some(quoted(&text)))
            }
        }
    }
}

/// The text of a part of a template that is no part of the resource.
fn literal<'a>(part: &'a TemplatePart, context: &'a BatchContext) -> &'a str {
    match part {
        TemplatePart::Literal(text) => text,
        TemplatePart::Account => &context.account,
        TemplatePart::Region => context.region.as_deref().unwrap_or_default(),
        TemplatePart::Partition => &context.partition,
        TemplatePart::Path(..) | TemplatePart::Expression(..) => "",
    }
}

/// The text that a placeholder needs.
fn filled(json: &str, name: &str) -> Result<String, String> {
    let text = if json.starts_with('"') { string(json).map_err(|_| broken())? } else { Cow::Borrowed("") };
    if text.is_empty() { Err(format!("it has no `{name}`")) } else { Ok(text.into_owned()) }
}

fn json(value: &crate::Value<'_>) -> String {
    let mut json = Vec::new();
    value.write(&mut json);
    String::from_utf8_lossy(&json).into_owned()
}

pub(super) fn quoted(text: &str) -> String {
    let mut json = Vec::new();
    append_str(text, &mut json);
    String::from_utf8_lossy(&json).into_owned()
}

pub(super) fn broken() -> String {
    "it is no JSON".to_owned()
}
