//! Documents that are made of resources, for expressions that are evaluated on values.

use std::{borrow::Cow, collections::BTreeSet};

use super::{
    super::{DocumentOrigin, NullPolicy, ValueForm},
    BatchContext, Placed, ResourceView,
    computed::{broken, quoted},
};
use crate::{
    Found, split_object,
    text::{append_bool, append_integer, member, string},
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
        for ((name, source), read) in self.shape.set.0.iter().zip(&self.set) {
            let value = match read {
                Placed::Path(path) => at(path).map(str::to_owned),
                Placed::Computed(position) => self.computed[*position].evaluate(found, context)?,
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
        for ((name, _), read) in self.shape.context.0.iter().zip(&self.extra) {
            let value = match read {
                Placed::Path(path) if name == "*" => {
                    let object = at(path).filter(|text| text.starts_with('{')).unwrap_or("{}");
                    for (name, value) in split_object(object).map_err(|_| broken())? {
                        extra.push((string(name).map_err(|_| broken())?, value.to_owned()));
                    }
                    None
                }
                Placed::Path(path) => at(path).map(str::to_owned),
                Placed::Computed(position) => {
                    let computed = &self.computed[*position];
                    let value = computed.evaluate(found, context).unwrap_or_default();
                    // A text without one of its values is null.
                    value.or_else(|| computed.is_template().then(|| "null".to_owned()))
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
        match self {
            Self::AsIs => out.extend_from_slice(json.as_bytes()),
            Self::Time => append_time(out, json),
            Self::Times(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                append_times(out, json, &names);
            }
            Self::Number => append_integer(out, json),
            Self::Boolean => append_bool(out, json),
        }
    }
}
