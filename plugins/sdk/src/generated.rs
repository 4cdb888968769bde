//! What the code that [`plugin!`](crate::plugin) generates is made of.

use std::{borrow::Cow, sync::OnceLock};

use berth_mapping::{EvaluationResult, Expression, Found, Slot, State, Value, time::append_times};
pub use serde::{self, Deserialize, de::IgnoredAny};
use serde::{Deserializer, Serialize, Serializer, ser::Error as _};

use crate::json;
pub use crate::{
    Context, Documents, Entities, Fields, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp, aws::is_foreign,
};

/// An expression of a mapping, which is compiled where it is evaluated first.
#[derive(Debug)]
pub struct Evaluation {
    code: &'static str,
    compiled: OnceLock<Option<Expression>>,
}

impl Evaluation {
    pub const fn of(code: &'static str) -> Self {
        Self { code, compiled: OnceLock::new() }
    }

    /// The value, where `inputs` are the values of the paths that the expression reads, as JSON, in their order.
    ///
    /// # Errors
    /// When the values are none that the expression is for.
    pub fn evaluate<'a>(&'a self, inputs: &[&'a str]) -> Result<Computed<'a>, Refused> {
        let compiled = self.compiled.get_or_init(|| {
            let mut position = 0;
            let next = |_: &Vec<String>| {
                position += 1;
                Slot::at(position - 1)
            };
            Expression::parse(self.code).map(|parsed| parsed.place_at(next))
        });
        let found: Found<'a> = inputs.iter().map(|json| State::Text(json)).collect();
        match compiled.as_ref().map(|expression| expression.evaluate(&found)) {
            Some(EvaluationResult::Value(Value::Json(json))) => Ok(Computed(Cow::Borrowed(json))),
            Some(EvaluationResult::Value(value)) => {
                let mut json = Vec::new();
                value.write(&mut json);
                let json = String::from_utf8(json).map_err(|error| Refused::from(error.to_string()))?;
                Ok(Computed(Cow::Owned(json)))
            }
            // The property of an expression that fails is null, in the integration that Berth replaces, too.
            Some(EvaluationResult::Nothing | EvaluationResult::Failed) => Ok(Computed::NULL),
            Some(EvaluationResult::Deferred) | None => {
                Err(format!("it does not have the shape that the mapping reads: `{}`", self.code).into())
            }
        }
    }
}

/// A value that was computed, as JSON.
#[derive(Debug, Clone)]
pub struct Computed<'a>(Cow<'a, str>);

impl Computed<'_> {
    pub const NULL: Computed<'static> = Computed(Cow::Borrowed("null"));

    fn json(&self) -> Json<'_> {
        Json::of(&self.0)
    }
}

impl Serialize for Computed<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(to)
    }
}

/// A value in which the members of some names are times.
#[derive(Debug)]
pub struct Times<'a>(Json<'a>, &'static [&'static str]);

impl<'a> Times<'a> {
    pub fn of(json: Json<'a>, names: &'static [&'static str]) -> Self {
        Self(json, names)
    }
}

impl Serialize for Times<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut json = Vec::new();
        append_times(&mut json, self.0.text(), self.1);
        Json::of(std::str::from_utf8(&json).map_err(S::Error::custom)?).serialize(to)
    }
}

/// The members of an object; none for what is missing or null.
///
/// # Errors
/// When it is something else.
pub fn fields_of(json: Option<Json<'_>>) -> Result<Option<Fields<'_>>, Refused> {
    json.filter(|json| !json.is_null()).map(Json::fields).transpose()
}

/// What stands below a value; null where a name is missing.
///
/// # Errors
/// When a value on the way is neither an object nor null.
pub fn member<'a>(json: Json<'a>, path: &[&str]) -> Result<Json<'a>, Refused> {
    let mut json = json;
    for name in path {
        json = fields_of(Some(json))?.and_then(|fields| fields.get(name)).unwrap_or_default();
    }
    Ok(json)
}

/// What stands below a value in JSON.
///
/// # Errors
/// As of [`member`].
pub fn below(json: &str, path: &[&str]) -> Result<Computed<'static>, Refused> {
    member(Json::of(json), path).map(|json| Computed(Cow::Owned(json.text().to_owned())))
}

/// A value that is left out where it cannot be made.
pub fn optional<T>(make: impl FnOnce() -> Result<T, Refused>) -> Option<T> {
    make().ok()
}

/// Why a resource is refused that lacks what its members are read of.
pub fn no_object() -> Refused {
    Json::NULL.is_no("an object")
}

/// The text that a placeholder needs.
///
/// # Errors
/// When there is none.
pub fn filled<'a>(json: Json<'a>, name: &str) -> Result<Cow<'a, str>, Refused> {
    json.as_str().filter(|text| !text.is_empty()).ok_or_else(|| format!("it has no `{name}`").into())
}

/// As [`filled`].
///
/// # Errors
/// When there is no text.
pub fn filled_by(value: &Computed<'_>, name: &str) -> Result<String, Refused> {
    filled(value.json(), name).map(Cow::into_owned)
}

/// A member of which it matters whether it is there: null is a value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Present<'a>(pub Option<Json<'a>>);

impl<'a> Present<'a> {
    /// The value; null where it is missing.
    pub fn json(self) -> Json<'a> {
        self.0.unwrap_or_default()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Present<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Json::deserialize(from).map(Some).map(Self)
    }
}

/// The first value that is there; null where none is.
pub fn first_present<const N: usize>(values: [Option<String>; N]) -> Computed<'static> {
    values.into_iter().flatten().next().map_or(Computed::NULL, |json| Computed(Cow::Owned(json)))
}

/// A value that an entity needs.
pub trait Required {
    /// Whether it is null.
    fn is_null(&self) -> bool;
}

impl Required for Json<'_> {
    fn is_null(&self) -> bool {
        Json::is_null(*self)
    }
}

impl Required for Computed<'_> {
    fn is_null(&self) -> bool {
        self.json().is_null()
    }
}

/// Refuses a resource without a property that it must have.
///
/// # Errors
/// When there is none.
pub fn required(value: &impl Required, name: &str) -> Result<(), Refused> {
    if value.is_null() { Err(format!("it has no `{name}`").into()) } else { Ok(()) }
}

/// The value if an option is on, else null.
pub fn when<'a>(context: &Context, option: &str, json: Json<'a>) -> Json<'a> {
    if is_on(context, option) { json } else { Json::NULL }
}

/// Whether an option is on.
pub fn is_on(context: &Context, option: &str) -> bool {
    context.options.iter().any(|on| on == option)
}

/// A value as JSON; null for what is none.
pub fn json(value: impl Serialize) -> String {
    let mut json = Vec::new();
    match json::append(&mut json, &value) {
        Ok(()) => String::from_utf8(json).unwrap_or_default(),
        Err(_) => "null".to_owned(),
    }
}
