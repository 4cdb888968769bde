//! The code that makes entities: each path that the default mapping reads of a document is traced back to the member
//! of the resource that the document would take it from.

use std::fmt::Write as _;

use berth_mapping::document::{
    Name, SourceExpression, Traced, TracedValue, Tracer, ValueForm, ValueSource, names_of,
};

use crate::{
    resource::Members,
    shape::Kind,
    source::{Statics, evaluate, template},
};

/// The code that makes the entity of a resource.
pub(crate) struct Entities {
    /// What stands before it.
    pub(crate) statics: String,
    /// The body of the function.
    pub(crate) body: String,
}

impl Entities {
    pub(crate) fn generate(kind: &Kind, members: &mut Members) -> Result<Self, String> {
        if kind.document.each.is_some() {
            return Err(
                "`document.each` needs a mapper in code; implement `Mapper` in Rust for this kind".to_owned()
            );
        }
        let listed = kind.document.listed();
        let tracer = Tracer::new(&kind.document, &listed);
        // Once to learn what is read, and once to write it down.
        Writer { kind, tracer: &tracer, members, statics: Statics::default(), learns: true }.body()?;
        let mut writer =
            Writer { kind, tracer: &tracer, members, statics: Statics::default(), learns: false };
        let body = writer.body()?;
        Ok(Self { statics: writer.statics.code(), body })
    }
}

/// Why no code is generated.
const WHOLE: &str = "it reads the whole document; implement `Mapper` in Rust for this kind";

/// Writes the code.
struct Writer<'w> {
    kind: &'w Kind,
    tracer: &'w Tracer<'w>,
    members: &'w mut Members,
    statics: Statics,
    /// Whether it only learns what is read.
    learns: bool,
}

impl Writer<'_> {
    fn body(&mut self) -> Result<String, String> {
        let document = &self.kind.document;
        let mut body = String::new();
        if let Some(owner) = &document.owner {
            let owner = self.member(&Name::path(&names_of(owner)));
            _ = write!(body, "if is_foreign(context, {owner}) {{ return Ok(()); }}");
        }
        for (merge, optional) in document.merges() {
            if !optional && let Some(is_there) = self.members.is_there(&Name::path(&merge)) {
                _ = write!(body, "if !{is_there} {{ return Err(no_object()); }}");
            }
        }
        let sets = document.set.0.iter().map(|(_, source)| (&source.value, "set"));
        let context = document.context.0.iter().map(|(_, source)| (source, "context"));
        for (position, (source, name)) in sets.enumerate().chain(context.enumerate()) {
            if let ValueSource::Template(parts) = ValueSource::read(source, &[])? {
                let (members, learns) = (&mut *self.members, self.learns);
                let mut json = |path: &[String]| read(members, learns, &Name::path(path));
                let text = template(&parts, &mut self.statics, &mut json);
                _ = if name == "set" {
                    write!(body, "let set{position}: ::std::string::String = {text};")
                } else {
                    write!(body, "let context{position} = optional(|| Ok({text}));")
                };
            }
        }
        for property in self.tracer.listed().iter().filter(|property| property.required) {
            if let Traced::Values { values, .. } =
                self.tracer.trace(&["Properties".to_owned(), property.name.clone()])?
                && !matches!(values.as_slice(), [] | [TracedValue::Template(_), ..])
            {
                let value = self.values(&values);
                _ = write!(body, "required(&{value}, {:?})?;", property.name);
            }
        }
        let mappings = &self.kind.mapping.port.entity.mappings;
        let blueprint: String = serde_json::from_str(&mappings.blueprint)
            .map_err(|_| format!("`blueprint`: `{}` is not a text in quotes", mappings.blueprint))?;
        let identifier = self.field("identifier", &mappings.identifier)?;
        _ = write!(body, "let mut entity = out.entity({blueprint:?}, {identifier});");
        for (name, code) in [("title", &mappings.title), ("icon", &mappings.icon), ("team", &mappings.team)] {
            if let Some(code) = code {
                let value = self.field(name, code)?;
                _ = write!(body, "entity.{name}({value});");
            }
        }
        for (section, fields) in [("property", &mappings.properties), ("relation", &mappings.relations)] {
            for (name, code) in &fields.0 {
                let value = self.field(name, code)?;
                _ = write!(body, "entity.{section}({name:?}, {value});");
            }
        }
        Ok(body)
    }

    /// The code of the value of a field.
    fn field(&mut self, name: &str, text: &str) -> Result<String, String> {
        let at = |reason| format!("`{name}`: {reason}");
        let code = SourceExpression::read(text).map_err(at)?;
        if code.is_path
            && let [path] = code.paths.as_slice()
        {
            return match self.tracer.trace(path).map_err(at)? {
                Traced::Kind => Ok("&context.kind".to_owned()),
                Traced::Account => Ok("&context.account_id".to_owned()),
                Traced::Region => Ok("context.region.as_deref()".to_owned()),
                Traced::Whole => Err(at(WHOLE.to_owned())),
                Traced::Nothing => Ok("Json::NULL".to_owned()),
                Traced::Values { values, below } => Ok(self.below(&values, &below)),
            };
        }
        if code.paths.is_empty()
            && let Ok(literal) = serde_json::from_str::<String>(text)
        {
            return Ok(format!("{literal:?}"));
        }
        let mut inputs = Vec::new();
        for path in &code.paths {
            inputs.push(match self.tracer.trace(path).map_err(at)? {
                Traced::Kind => "&json(&context.kind)".to_owned(),
                Traced::Account => "&json(&context.account_id)".to_owned(),
                Traced::Region => "&json(context.region.as_deref())".to_owned(),
                Traced::Whole => return Err(at(WHOLE.to_owned())),
                Traced::Nothing => "\"null\"".to_owned(),
                Traced::Values { values, below } => match values.as_slice() {
                    [TracedValue::Member { form: ValueForm::AsIs, option: None, .. }] if below.is_empty() => {
                        format!("{}.text()", self.values(&values))
                    }
                    _ => format!("&json({})", self.below(&values, &below)),
                },
            });
        }
        Ok(format!("{}.evaluate(&[{}])?", self.statics.name(text), inputs.join(", ")))
    }

    /// The code of what stands below the first of several values.
    fn below(&mut self, values: &[TracedValue], below: &[String]) -> String {
        let code = self.values(values);
        if below.is_empty() { code } else { format!("below(&json({code}), &{below:?})?") }
    }

    /// The code of the first of several values that is there.
    fn values(&mut self, values: &[TracedValue]) -> String {
        match values {
            [] => "Json::NULL".to_owned(),
            // A text that is set is always there.
            [value] | [value @ TracedValue::Template(_), ..] => self.value(value),
            values => {
                let codes: Vec<_> = values.iter().map(|value| self.present(value)).collect();
                format!("first_present([{}])", codes.join(", "))
            }
        }
    }

    /// The code of a value if it is there, an `Option` of its JSON.
    fn present(&mut self, value: &TracedValue) -> String {
        let TracedValue::Member { path, form, option, skips_null } = value else {
            return format!("Some(json({}))", self.value(value));
        };
        if self.learns {
            self.members.want(path, true);
        }
        let code = self.members.access(path);
        // What is read below a text is there or not as that says.
        let code = match code.strip_suffix(".json()") {
            Some(code) => format!("{code}.0"),
            None => format!("Some({code})"),
        };
        let code = match option {
            Some(option) => format!("{code}.filter(|_| is_on(context, {option:?}))"),
            None => code,
        };
        let code = if *skips_null { format!("{code}.filter(|value| !value.is_null())") } else { code };
        format!("{code}.map(|value| json({}))", formed("value", form))
    }

    fn value(&mut self, value: &TracedValue) -> String {
        match value {
            TracedValue::Template(position) => format!("&set{position}"),
            TracedValue::ContextTemplate(position) => format!("&context{position}"),
            TracedValue::Member { path, form, option, .. } => {
                let code = self.member(path);
                formed(&when(option.as_deref(), code), form)
            }
            TracedValue::Expression { code, option } => {
                let (members, learns) = (&mut *self.members, self.learns);
                let mut json = |path: &[String]| read(members, learns, &Name::path(path));
                let code = evaluate(code, &mut self.statics, &mut json);
                match option {
                    Some(option) => {
                        format!("if is_on(context, {option:?}) {{ {code} }} else {{ Computed::NULL }}")
                    }
                    None => code,
                }
            }
        }
    }

    fn member(&mut self, path: &[Name]) -> String {
        read(self.members, self.learns, path)
    }
}

/// The code of a `Json` in its form.
fn formed(code: &str, form: &ValueForm) -> String {
    match form {
        ValueForm::AsIs => code.to_owned(),
        ValueForm::Time => format!("Timestamp::from({code})"),
        ValueForm::Times(names) => format!("Times::of({code}, &{names:?})"),
        ValueForm::Number => format!("{code}.typed::<i64>()"),
        ValueForm::Boolean => format!("{code}.typed::<bool>()"),
    }
}

/// The code of a member, which is read from now on.
fn read(members: &mut Members, learns: bool, path: &[Name]) -> String {
    if learns {
        members.want(path, false);
    }
    members.access(path)
}

/// The code of a value that only an option has.
fn when(option: Option<&str>, code: String) -> String {
    match option {
        Some(option) => format!("when(context, {option:?}, {code})"),
        None => code,
    }
}
