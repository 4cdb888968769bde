//! The code that makes resource documents.

use std::fmt::Write as _;

use berth_mapping::document::{DocumentOrigin, NullPolicy, ValueForm, ValueSource, names_of};

use crate::{
    shape::Kind,
    source::{Statics, evaluate, template},
};

/// The body of the function that makes the document of a resource.
pub(crate) fn generate(kind: &Kind) -> Result<String, String> {
    let document = &kind.document;
    let (mut statics, mut objects) = (Statics::default(), Objects::default());
    let mut sets = String::new();
    for (position, (name, source)) in document.set.0.iter().enumerate() {
        if source.nulls == NullPolicy::Write && source.option.is_some() {
            // With the option off, the property stays as it was merged, and is not null.
            return Err(format!("`{name}`: with an option, `nulls` is `skip` or `keep`"));
        }
        let read = ValueSource::read(&source.value, &[])?;
        let value = value(&read, &mut objects, &mut statics);
        let value = match &source.option {
            Some(option) => format!("if is_on(context, {option:?}) {{ {value} }} else {{ None }}"),
            None => value,
        };
        _ = write!(sets, "let set{position} = {value};");
        let is_json = matches!(read, ValueSource::Path(_));
        let filter = match source.nulls {
            NullPolicy::Skip if is_json => format!("set{position}.filter(|value| !value.is_null())"),
            NullPolicy::Skip | NullPolicy::Keep => format!("set{position}"),
            NullPolicy::Write => format!("Some(set{position})"),
        };
        _ = write!(objects.sets, "if let Some(value) = {filter} {{ document.set({name:?}, value); }}");
    }
    let mut context = String::new();
    for (position, (name, source)) in document.context.0.iter().enumerate() {
        let read = ValueSource::read(source, &[])?;
        let value = value(&read, &mut objects, &mut statics);
        // A text is null if one of its placeholders has none.
        let value = match read {
            ValueSource::Template(_) => format!("Some(optional(|| Ok({value})).flatten())"),
            ValueSource::Path(_) | ValueSource::Expression(_) => value,
        };
        _ = write!(sets, "let context{position} = {value};");
        _ = write!(
            context,
            "if let Some(value) = context{position} {{ document.context({name:?}, value); }}"
        );
    }
    let mut body = String::new();
    let owner = document.owner.as_ref().map(|owner| {
        format!("if is_foreign(context, {}) {{ return Ok(()); }}", objects.json(&names_of(owner)))
    });
    let mut merges = String::new();
    for (path, optional) in document.merges() {
        if let Some(fields) = objects.fields(&path) {
            _ = write!(merges, "if let Some(fields) = {fields} {{ document.merge_fields(fields); }}");
            if !optional {
                _ = write!(body, "if {fields}.is_none() {{ return Err(no_object()); }}");
            }
        } else if optional {
            let value = objects.option(&path);
            _ = write!(
                merges,
                "if let Some(object) = {value}.filter(|value| !value.is_null()) {{ document.merge(object); }}"
            );
        } else if path == ["steps"] {
            merges.push_str("document.merge_fields(resource.steps);");
        } else {
            _ = write!(merges, "document.merge({});", objects.json(&path));
        }
    }
    let origin = match document.origin {
        DocumentOrigin::Region => "document.origin();",
        DocumentOrigin::Account => "document.context(\"AccountId\", &context.account_id);",
        DocumentOrigin::None => "",
    };
    Ok(format!(
        "{statics} {properties} {objects} {body} {owner} {sets}
        let mut document = out.document(&PROPERTIES);
        {merges} {set} {origin} {context}",
        statics = statics.code(),
        properties = properties(kind),
        objects = objects.code,
        owner = owner.unwrap_or_default(),
        set = objects.sets,
    ))
}

/// The code of a value, an `Option`.
fn value(source: &ValueSource, objects: &mut Objects, statics: &mut Statics) -> String {
    let mut json = |path: &[String]| objects.json(path);
    match source {
        ValueSource::Path(path) => objects.option(path),
        ValueSource::Expression(code) => format!("Some({})", evaluate(code, statics, &mut json)),
        ValueSource::Template(parts) => format!("Some({})", template(parts, statics, &mut json)),
    }
}

/// The constant of the properties.
fn properties(kind: &Kind) -> String {
    let mut listed = String::new();
    for property in kind.document.listed() {
        _ = write!(listed, "Property::new({:?})", property.name);
        if let Some(member) = &property.member {
            _ = write!(listed, ".raw({member:?})");
        }
        match &property.form {
            ValueForm::AsIs => {}
            ValueForm::Time => listed.push_str(".time()"),
            ValueForm::Times(names) => _ = write!(listed, ".times(&{names:?})"),
            ValueForm::Number => listed.push_str(".int()"),
            ValueForm::Boolean => listed.push_str(".bool()"),
        }
        listed.push_str(if property.required { ".required()," } else { "," });
    }
    let unknown = if kind.document.keep_unknown { "keeping_unknown" } else { "dropping_unknown" };
    format!("const PROPERTIES: Properties = Properties::{unknown}(&[{listed}]);")
}

/// The objects of a resource of which members are read.
#[derive(Default)]
struct Objects {
    /// Each with the number of its variable.
    known: Vec<Vec<String>>,
    code: String,
    /// Code that sets properties.
    sets: String,
}

impl Objects {
    /// The code of the value at a path, an `Option<Json>`.
    fn option(&mut self, path: &[String]) -> String {
        match path {
            [part] if part == "item" => "Some(resource.item)".to_owned(),
            [part, step] if part != "item" => format!("resource.{part}.get({step:?})"),
            [object @ .., name] => {
                let object = self.object(object);
                format!("object{object}.as_ref().and_then(|fields| fields.get({name:?}))")
            }
            [] => "None".to_owned(),
        }
    }

    /// The code of the value at a path, a `Json`.
    fn json(&mut self, path: &[String]) -> String {
        match path {
            [part] if part == "item" => "resource.item".to_owned(),
            _ => format!("{}.unwrap_or_default()", self.option(path)),
        }
    }

    /// The code of the members of an object, if they are read.
    fn fields(&self, path: &[String]) -> Option<String> {
        self.known.iter().position(|known| known == path).map(|position| format!("object{position}"))
    }

    /// The number of an object's variable.
    fn object(&mut self, path: &[String]) -> usize {
        if let Some(position) = self.known.iter().position(|known| known == path) {
            return position;
        }
        let value = self.option(path);
        let position = self.known.len();
        self.known.push(path.to_vec());
        _ = write!(self.code, "let object{position} = fields_of({value})?;");
        position
    }
}
