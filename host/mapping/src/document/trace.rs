//! Where the values of a document come from: each path of a document is traced back to the resource.

use super::{DocumentOrigin, DocumentShape, NullPolicy, Property, SourceExpression, ValueForm, ValueSource};
use crate::paths::Name;

/// Where a path of a document is found.
#[derive(Debug, Clone)]
pub enum Traced {
    /// The kind of the resource.
    Kind,
    /// The account that is read.
    Account,
    /// The region that is read; none for a kind that is not regional.
    Region,
    /// In the first of these values that is there.
    Values {
        /// What counts first stands first.
        values: Vec<TracedValue>,
        /// The path below it.
        below: Vec<String>,
    },
    /// Nowhere: it is null.
    Nothing,
    /// The path is that of the whole document, or of all its properties.
    Whole,
}

/// Where a value may be found.
#[derive(Debug, Clone)]
pub enum TracedValue {
    /// A member of the resource.
    Member {
        /// Its path.
        path: Vec<Name>,
        /// What becomes of it.
        form: ValueForm,
        /// The option that must be on.
        option: Option<String>,
        /// Whether null counts as missing.
        skips_null: bool,
    },
    /// What an expression on the resource gives.
    Expression {
        /// The expression.
        code: SourceExpression,
        /// The option that must be on.
        option: Option<String>,
    },
    /// A property that is set to a text: its position in [`DocumentShape::set`].
    Template(usize),
    /// A member of `__ExtraContext` that is a text if all its placeholders have one: its position in
    /// [`DocumentShape::context`].
    ContextTemplate(usize),
}

/// Finds where a document would take its values from.
#[derive(Debug)]
pub struct Tracer<'s> {
    shape: &'s DocumentShape,
    listed: &'s [Property],
}

impl<'s> Tracer<'s> {
    /// For documents of this shape, which [lists](DocumentShape::listed) these properties.
    pub fn new(shape: &'s DocumentShape, listed: &'s [Property]) -> Self {
        Self { shape, listed }
    }

    /// The properties that are listed.
    pub fn listed(&self) -> &'s [Property] {
        self.listed
    }

    /// Where a path is found.
    ///
    /// # Errors
    /// When the shape has a source that cannot be read.
    pub fn trace(&self, path: &[String]) -> Result<Traced, String> {
        let document = self.shape;
        let (first, second) = (path.first().map(String::as_str), path.get(1).map(String::as_str));
        let rest = path.get(2..).unwrap_or_default();
        Ok(match (first, second) {
            (Some("Type"), None) => Traced::Kind,
            (Some("__AccountId"), None) => Traced::Account,
            (Some("__Region"), None) => Traced::Region,
            (Some("__ExtraContext"), Some("AccountId")) if document.origin != DocumentOrigin::None => {
                Traced::Account
            }
            (Some("__ExtraContext"), Some("Region")) if document.origin == DocumentOrigin::Region => {
                Traced::Region
            }
            (Some("__ExtraContext"), Some(name)) => {
                match document.context.0.iter().position(|(known, _)| known == name) {
                    Some(position) => {
                        let (_, source) = &document.context.0[position];
                        let value = match Self::source(source, None, rest, position)? {
                            TracedValue::Template(position) => TracedValue::ContextTemplate(position),
                            value => value,
                        };
                        Traced::Values { values: vec![value], below: Vec::new() }
                    }
                    None => match document.context.0.iter().find(|(known, _)| known == "*") {
                        Some((_, source)) => {
                            let below = path.get(1..).unwrap_or_default();
                            let values = vec![Self::source(source, None, below, 0)?];
                            Traced::Values { values, below: Vec::new() }
                        }
                        None => Traced::Nothing,
                    },
                }
            }
            (Some("Properties"), Some(name)) => self.property(name, rest)?,
            (Some("Properties" | "__ExtraContext") | None, _) => Traced::Whole,
            _ => Traced::Nothing,
        })
    }

    /// Where a property comes from, first what counts first.
    fn property(&self, name: &str, rest: &[String]) -> Result<Traced, String> {
        let document = self.shape;
        let property = self.listed.iter().find(|property| property.name == name);
        let is_merged = property.is_some() || document.keep_unknown;
        let places = document.set.0.iter().filter(|(known, _)| known == name).count()
            + if is_merged { document.merges().len() } else { 0 };
        // Which of several places counts depends on the property itself, whatever is read below it.
        let (rest, below) = if places > 1 { (&[][..], rest) } else { (rest, &[][..]) };
        let below = below.to_vec();
        let mut values = Vec::new();
        for (position, (known, source)) in document.set.0.iter().enumerate() {
            if known == name {
                let mut value = Self::source(&source.value, source.option.clone(), rest, position)?;
                if let TracedValue::Member { skips_null, .. } = &mut value {
                    *skips_null = source.nulls == NullPolicy::Skip;
                }
                values.push(value);
                if source.nulls == NullPolicy::Write {
                    return Ok(Traced::Values { values, below });
                }
            }
        }
        if !is_merged {
            return Ok(Traced::Values { values, below });
        }
        let form = property.map_or(ValueForm::AsIs, |property| property.form.clone());
        let form = match (form, rest.last()) {
            (ValueForm::Times(times), Some(last)) if times.contains(last) => ValueForm::Time,
            (form @ ValueForm::Times(_), _) | (form, None) => form,
            (_, Some(_)) => ValueForm::AsIs,
        };
        // By its own name, or as AWS writes it.
        let member = property.and_then(|property| property.member.clone());
        let alias = property.and_then(|_| {
            let (first, rest) = name.split_at_checked(1)?;
            let small = first.to_ascii_lowercase();
            (small != first).then(|| small + rest)
        });
        let name = match member {
            Some(member) => Name { text: member, alias: None },
            None => Name { text: name.to_owned(), alias },
        };
        for (merge, _) in document.merges().into_iter().rev() {
            let path = [Name::path(&merge), vec![name.clone()], Name::path(rest)].concat();
            values.push(TracedValue::Member { path, form: form.clone(), option: None, skips_null: false });
        }
        Ok(Traced::Values { values, below })
    }

    fn source(
        source: &str,
        option: Option<String>,
        rest: &[String],
        position: usize,
    ) -> Result<TracedValue, String> {
        Ok(match ValueSource::read(source, rest)? {
            ValueSource::Path(path) => TracedValue::Member {
                path: Name::path(&path),
                form: ValueForm::AsIs,
                option,
                skips_null: false,
            },
            ValueSource::Expression(code) => TracedValue::Expression { code, option },
            ValueSource::Template(_) if option.is_some() => {
                return Err(format!("`{source}` is a text; read its parts in the mapping instead"));
            }
            ValueSource::Template(_) => TracedValue::Template(position),
        })
    }
}
