//! The code that makes entities: each path that the default mapping reads of a document is traced back to the member
//! of the resource that the document would take it from.

use std::fmt::Write as _;

use crate::{
    resource::{Members, Name},
    shape::{Form, Kind, Nulls, Origin, Property},
    source::{Code, Source, Statics, evaluate, template},
};

/// The code that makes the entity of a resource.
pub(crate) struct Entities {
    /// What stands before it.
    pub(crate) statics: String,
    /// The body of the function.
    pub(crate) body: String,
}

/// Where a path of the document is found.
enum Traced {
    /// Code of a text of the batch.
    Text(&'static str),
    /// Code of a text of the batch that may be missing.
    OptionalText(&'static str),
    /// In the first of these that is there, and below it.
    Values(Vec<Value>, Vec<String>),
    Nothing,
}

enum Value {
    Member {
        path: Vec<Name>,
        form: Form,
        option: Option<String>,
        skips_null: bool,
    },
    Expression {
        code: Code,
        option: Option<String>,
    },
    /// A property that is set to a text, by its position.
    Template(usize),
    /// A member of `__ExtraContext` that is a text if all its placeholders have one, by its position.
    OptionalTemplate(usize),
}

impl Entities {
    pub(crate) fn generate(kind: &Kind, members: &mut Members) -> Result<Self, String> {
        let tracer = Tracer { kind, listed: kind.document.listed() };
        // Once to learn what is read, and once to write it down.
        Writer { tracer: &tracer, members, statics: Statics::default(), learns: true }.body()?;
        let mut writer = Writer { tracer: &tracer, members, statics: Statics::default(), learns: false };
        let body = writer.body()?;
        Ok(Self { statics: writer.statics.code(), body })
    }
}

/// Finds where a document would take its values from.
struct Tracer<'k> {
    kind: &'k Kind,
    listed: Vec<Property>,
}

impl Tracer<'_> {
    fn trace(&self, path: &[String]) -> Result<Traced, String> {
        let document = &self.kind.document;
        let (first, second) = (path.first().map(String::as_str), path.get(1).map(String::as_str));
        let rest = path.get(2..).unwrap_or_default();
        Ok(match (first, second) {
            (Some("Type"), None) => Traced::Text("&context.kind"),
            (Some("__AccountId"), None) => Traced::Text("&context.account_id"),
            (Some("__Region"), None) => Traced::OptionalText("context.region.as_deref()"),
            (Some("__ExtraContext"), Some("AccountId")) if document.origin != Origin::None => {
                Traced::Text("&context.account_id")
            }
            (Some("__ExtraContext"), Some("Region")) if document.origin == Origin::Region => {
                Traced::OptionalText("context.region.as_deref()")
            }
            (Some("__ExtraContext"), Some(name)) => {
                match document.context.0.iter().position(|(known, _)| known == name) {
                    Some(position) => {
                        let (_, source) = &document.context.0[position];
                        let value = match Self::source(source, None, rest, position)? {
                            Value::Template(position) => Value::OptionalTemplate(position),
                            value => value,
                        };
                        Traced::Values(vec![value], Vec::new())
                    }
                    None => Traced::Nothing,
                }
            }
            (Some("Properties"), Some(name)) => self.property(name, rest)?,
            (Some("Properties" | "__ExtraContext") | None, _) => {
                return Err(
                    "the default mapping reads whole documents; implement `Mapper` in Rust".to_owned()
                );
            }
            _ => Traced::Nothing,
        })
    }

    /// Where a property comes from, first what counts first.
    fn property(&self, name: &str, rest: &[String]) -> Result<Traced, String> {
        let document = &self.kind.document;
        // Which of several objects counts depends on the property itself, whatever is read below it.
        let (rest, below) = if document.merges().len() > 1 { (&[][..], rest) } else { (rest, &[][..]) };
        let below = below.to_vec();
        let mut values = Vec::new();
        for (position, (known, source)) in document.set.0.iter().enumerate() {
            if known == name {
                let mut value = Self::source(&source.value, source.option.clone(), rest, position)?;
                if let Value::Member { skips_null, .. } = &mut value {
                    *skips_null = source.nulls == Nulls::Skip;
                }
                values.push(value);
                if source.nulls == Nulls::Write {
                    return Ok(Traced::Values(values, below));
                }
            }
        }
        let property = self.listed.iter().find(|property| property.name == name);
        if property.is_none() && !document.keep_unknown {
            return Ok(Traced::Values(values, below));
        }
        let form = property.map_or(Form::AsIs, |property| property.form.clone());
        let form = match (form, rest.last()) {
            (Form::Times(times), Some(last)) if times.contains(last) => Form::Time,
            (form @ Form::Times(_), _) | (form, None) => form,
            (_, Some(_)) => Form::AsIs,
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
            values.push(Value::Member { path, form: form.clone(), option: None, skips_null: false });
        }
        Ok(Traced::Values(values, below))
    }

    fn source(
        source: &str,
        option: Option<String>,
        rest: &[String],
        position: usize,
    ) -> Result<Value, String> {
        Ok(match Source::read(source, rest)? {
            Source::Path(path) => {
                Value::Member { path: Name::path(&path), form: Form::AsIs, option, skips_null: false }
            }
            Source::Expression(code) => Value::Expression { code, option },
            Source::Template(_) if option.is_some() => {
                return Err(format!("`{source}` is a text; read its parts in the mapping instead"));
            }
            Source::Template(_) => Value::Template(position),
        })
    }
}

/// Writes the code.
struct Writer<'w> {
    tracer: &'w Tracer<'w>,
    members: &'w mut Members,
    statics: Statics,
    /// Whether it only learns what is read.
    learns: bool,
}

impl Writer<'_> {
    fn body(&mut self) -> Result<String, String> {
        let document = &self.tracer.kind.document;
        let mut body = String::new();
        if let Some(owner) = &document.owner {
            let owner: Vec<_> = owner.split('.').map(str::to_owned).collect();
            let owner = self.member(&Name::path(&owner));
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
            if let Source::Template(parts) = Source::read(source, &[])? {
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
        for property in self.tracer.listed.iter().filter(|property| property.required) {
            if let Traced::Values(values, _) =
                self.tracer.trace(&["Properties".to_owned(), property.name.clone()])?
                && !matches!(values.as_slice(), [] | [Value::Template(_), ..])
            {
                let value = self.values(&values);
                _ = write!(body, "required(&{value}, {:?})?;", property.name);
            }
        }
        let mappings = &self.tracer.kind.mapping.port.entity.mappings;
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
        let code = Code::read(text).map_err(at)?;
        if code.is_path
            && let [path] = code.paths.as_slice()
        {
            return match self.tracer.trace(path).map_err(at)? {
                Traced::Text(text) | Traced::OptionalText(text) => Ok(text.to_owned()),
                Traced::Nothing => Ok("Json::NULL".to_owned()),
                Traced::Values(values, below) => Ok(self.below(&values, &below)),
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
                Traced::Text(text) => format!("&quoted({text})"),
                Traced::OptionalText(text) => format!("&{text}.map_or_else(|| \"null\".to_owned(), quoted)"),
                Traced::Nothing => "\"null\"".to_owned(),
                Traced::Values(values, below) => match values.as_slice() {
                    [Value::Member { form: Form::AsIs, option: None, .. }] if below.is_empty() => {
                        format!("{}.text()", self.values(&values))
                    }
                    _ => format!("&json({})", self.below(&values, &below)),
                },
            });
        }
        Ok(format!("{}.evaluate(&[{}])?", self.statics.name(text), inputs.join(", ")))
    }

    /// The code of what stands below the first of several values.
    fn below(&mut self, values: &[Value], below: &[String]) -> String {
        let code = self.values(values);
        if below.is_empty() { code } else { format!("below(&json({code}), &{below:?})?") }
    }

    /// The code of the first of several values that is there.
    fn values(&mut self, values: &[Value]) -> String {
        match values {
            [] => "Json::NULL".to_owned(),
            // A text that is set is always there.
            [value] | [value @ Value::Template(_), ..] => self.value(value),
            values => {
                let codes: Vec<_> = values.iter().map(|value| self.present(value)).collect();
                format!("first_present([{}])", codes.join(", "))
            }
        }
    }

    /// The code of a value if it is there, an `Option` of its JSON.
    fn present(&mut self, value: &Value) -> String {
        let Value::Member { path, form, option, skips_null } = value else {
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

    fn value(&mut self, value: &Value) -> String {
        match value {
            Value::Template(position) => format!("&set{position}"),
            Value::OptionalTemplate(position) => format!("&context{position}"),
            Value::Member { path, form, option, .. } => {
                let code = self.member(path);
                formed(&when(option.as_deref(), code), form)
            }
            Value::Expression { code, option } => {
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
fn formed(code: &str, form: &Form) -> String {
    match form {
        Form::AsIs => code.to_owned(),
        Form::Time => format!("Timestamp::from({code})"),
        Form::Times(names) => format!("Times::of({code}, &{names:?})"),
        Form::Number => format!("{code}.typed::<i64>()"),
        Form::Boolean => format!("{code}.typed::<bool>()"),
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
