//! Documents that are made of resources, for expressions that are evaluated on values.

use std::{borrow::Cow, collections::BTreeSet};

use super::{
    super::{DocumentOrigin, NullPolicy, SourceExpression, TemplatePart, ValueForm, ValueSource},
    BatchContext, ResourceView,
    computed::{ComputedForm, broken, filled, json, literal, quoted},
};
use crate::{
    EvaluationResult, Expression, Found, PathTree, split_object,
    text::{member, string},
    time::{append_time, append_times},
};

impl ResourceView {
    /// The document of a resource.
    ///
    /// # Errors
    /// Why the resource is refused.
    pub fn document(
        &self,
        resource: &str,
        found: &Found<'_>,
        context: &BatchContext,
    ) -> Result<String, String> {
        self.whole(resource, found, context, None)
    }

    /// The document of a resource, with the properties that are [kept](Self::keep) and no others.
    ///
    /// # Errors
    /// Why the resource is refused.
    pub fn pruned(
        &self,
        resource: &str,
        found: &Found<'_>,
        context: &BatchContext,
    ) -> Result<String, String> {
        self.whole(resource, found, context, self.kept.as_ref())
    }

    pub(super) fn whole(
        &self,
        resource: &str,
        found: &Found<'_>,
        context: &BatchContext,
        only: Option<&BTreeSet<String>>,
    ) -> Result<String, String> {
        let at = |path: &[String]| at(resource, path);
        let mut entries = Entries { only, list: Vec::new() };
        for (path, _) in self.shape.merges() {
            let Some(object) = at(&path).filter(|text| text.starts_with('{')) else { continue };
            for (name, value) in split_object(object).map_err(|_| broken())? {
                let name = string(name).map_err(|_| broken())?;
                self.merge(&name, value, &mut entries);
            }
        }
        let mut templates = 0;
        for ((name, source), read) in self.shape.set.0.iter().zip(&self.sources.0) {
            let value = match read {
                ValueSource::Path(path) => at(path).map(str::to_owned),
                ValueSource::Template(_) => {
                    templates += 1;
                    self.computed
                        .get(templates - 1)
                        .map(|of| of.evaluate(found, context))
                        .transpose()?
                        .flatten()
                }
                ValueSource::Expression(code) => evaluate_alone(code, resource)?,
            };
            let is_null = value.as_deref().is_none_or(|value| value == "null");
            let is_left = match source.nulls {
                NullPolicy::Skip => is_null,
                NullPolicy::Keep => value.is_none(),
                NullPolicy::Write => false,
            };
            if !is_left && context.is_on(source.option.as_ref()) {
                entries.put(name, value.unwrap_or_else(|| "null".to_owned()), true);
            }
        }
        let mut extra = Vec::new();
        if self.shape.origin != DocumentOrigin::None {
            extra.push((Cow::Borrowed("AccountId"), quoted(&context.account)));
        }
        if let (DocumentOrigin::Region, Some(region)) = (self.shape.origin, &context.region) {
            extra.push((Cow::Borrowed("Region"), quoted(region)));
        }
        for ((name, _), source) in self.shape.context.0.iter().zip(&self.sources.1) {
            let value = match source {
                ValueSource::Path(path) if name == "*" => {
                    let object = at(path).filter(|text| text.starts_with('{')).unwrap_or("{}");
                    for (name, value) in split_object(object).map_err(|_| broken())? {
                        extra.push((string(name).map_err(|_| broken())?, value.to_owned()));
                    }
                    None
                }
                ValueSource::Path(path) => at(path).map(str::to_owned),
                ValueSource::Expression(code) => evaluate_alone(code, resource)?,
                ValueSource::Template(parts) => {
                    Some(text_alone(parts, resource, context).unwrap_or("null".to_owned()))
                }
            };
            if let Some(value) = value {
                extra.push((Cow::Borrowed(name.as_str()), value));
            }
        }
        Ok(entries.document(&extra, context))
    }

    /// Puts a member into the document, by the rules of the shape.
    fn merge(&self, member: &str, value: &str, entries: &mut Entries<'_>) {
        let small = |name: &str| {
            name.len() == member.len()
                && name.get(1..) == member.get(1..)
                && name.get(..1).map(str::to_ascii_lowercase).as_deref() == member.get(..1)
        };
        let property = self.listed.iter().find(|property| {
            property.name == member
                || match &property.member {
                    Some(other) => other == member,
                    None => small(&property.name),
                }
        });
        match property {
            Some(property) => {
                let mut json = Vec::new();
                property.form.append(value, &mut json);
                let json = String::from_utf8_lossy(&json).into_owned();
                entries.put(&property.name, json, property.name == member);
            }
            None if self.shape.keep_unknown => entries.put(member, value.to_owned(), true),
            None => {}
        }
    }
}

/// What stands at a path.
fn at<'a>(resource: &'a str, path: &[String]) -> Option<&'a str> {
    path.iter().try_fold(resource, |text, name| match text.as_bytes().first() {
        Some(b'{') => member(text, name).ok().flatten(),
        _ => None,
    })
}

/// The value of an expression on a resource, as JSON.
fn evaluate_alone(code: &SourceExpression, resource: &str) -> Result<Option<String>, String> {
    let mut paths = PathTree::default();
    let parsed = Expression::parse(&code.text).ok_or_else(|| format!("`{}` needs a whole JQ", code.text))?;
    let form = ComputedForm::Expression(parsed.place(&mut paths));
    let mut found = Found::default();
    paths.find(resource, &mut found).map_err(|_| broken())?;
    let ComputedForm::Expression(expression) = &form else { return Ok(None) };
    Ok(match expression.evaluate(&found) {
        EvaluationResult::Value(value) => Some(json(&value)),
        _ => None,
    })
}

/// The text of a template on a resource, as JSON.
fn text_alone(parts: &[TemplatePart], resource: &str, context: &BatchContext) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            TemplatePart::Path(path, name) => {
                let code = SourceExpression {
                    text: format!(".{}", path.join(".")),
                    paths: vec![path.clone()],
                    is_path: true,
                };
                text.push_str(&filled(&evaluate_alone(&code, resource).ok()??, name).ok()?);
            }
            TemplatePart::Expression(code, name) => {
                text.push_str(&filled(&evaluate_alone(code, resource).ok()??, name).ok()?);
            }
            part => text.push_str(literal(part, context)),
        }
    }
    Some(quoted(&text))
}

/// The properties of a document that is being made.
struct Entries<'o> {
    only: Option<&'o BTreeSet<String>>,
    /// Name, value, and whether it came under the property's own name.
    list: Vec<(String, String, bool)>,
}

impl Entries<'_> {
    fn put(&mut self, name: &str, value: String, by_name: bool) {
        if self.only.is_some_and(|only| !only.contains(name)) {
            return;
        }
        match self.list.iter_mut().find(|(known, ..)| known == name) {
            Some(entry) if by_name || !entry.2 => *entry = (name.to_owned(), value, by_name),
            Some(_) => {}
            None => self.list.push((name.to_owned(), value, by_name)),
        }
    }

    fn document(&self, extra: &[(Cow<'_, str>, String)], context: &BatchContext) -> String {
        let object = |members: &mut dyn Iterator<Item = (&str, &str)>| {
            let members: Vec<_> = members.map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
            format!("{{{}}}", members.join(","))
        };
        let properties =
            object(&mut self.list.iter().map(|(name, value, _)| (name.as_str(), value.as_str())));
        let mut members = vec![("Type", quoted(&context.kind)), ("Properties", properties)];
        if !extra.is_empty() {
            let extra = object(&mut extra.iter().map(|(name, value)| (name.as_ref(), value.as_str())));
            members.push(("__ExtraContext", extra));
        }
        members.push(("__AccountId", quoted(&context.account)));
        if let Some(region) = &context.region {
            members.push(("__Region", quoted(region)));
        }
        object(&mut members.iter().map(|(name, value)| (*name, value.as_str())))
    }
}

impl ValueForm {
    /// Appends a value of JSON in this form.
    pub fn append(&self, json: &str, out: &mut Vec<u8>) {
        let unquoted = || json.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        match self {
            Self::AsIs => out.extend_from_slice(json.as_bytes()),
            Self::Time => append_time(out, json),
            Self::Times(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                append_times(out, json, &names);
            }
            // The parsed number, not its text: `+3` and `007` are numbers to Rust, but not to JSON.
            Self::Number => match unquoted().and_then(|text| text.parse::<i64>().ok()) {
                Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
                None => out.extend_from_slice(json.as_bytes()),
            },
            Self::Boolean => out.extend_from_slice(
                unquoted().filter(|text| matches!(*text, "true" | "false")).unwrap_or(json).as_bytes(),
            ),
        }
    }
}
