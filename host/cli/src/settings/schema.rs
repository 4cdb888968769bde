//! Settings sections as structs: each field is a [`Setting`], and its name is the setting's name.
//!
//! A nested struct is a table of the file. `#[serde(alias = "BERTH_…")]` on a field gives the setting a
//! variable that only Berth has. The names of all settings come from the structs, so that nobody writes them
//! twice.

use std::{cell::RefCell, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        Error as _, IntoDeserializer, Visitor,
        value::{MapDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Value, json};

use super::{
    defaults,
    setting_names::Names,
    tree::{BERTH, Given, Tree},
};

/// The name that distinguishes a [`Setting`] from a table.
const SETTING: &str = "$setting";

/// A setting with its given value and its default. [`SettingsCheck::value`](super::SettingsCheck::value) reads its value.
#[derive(Deserialize)]
#[serde(rename = "$setting", bound = "")]
pub(super) struct Setting<T> {
    path: String,
    given: Option<Given>,
    default: Option<Value>,
    example: Option<Value>,
    #[serde(skip)]
    kind: PhantomData<T>,
}

impl<T> Setting<T> {
    /// Returns its dotted path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the given value, even if it is empty.
    pub(super) fn given(&self) -> Option<&Given> {
        self.given.as_ref()
    }

    /// Returns whether it is set and not empty.
    pub(super) fn is_set(&self) -> bool {
        self.given.as_ref().is_some_and(|given| given.value().is_some())
    }

    /// Returns the given value, or the default.
    pub(super) fn value(&self) -> Option<&Value> {
        self.given.as_ref().and_then(Given::value).or(self.default.as_ref())
    }

    /// Returns a valid value, for remedies.
    pub(super) fn example(&self) -> String {
        match &self.example {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }
}

/// Leaves out the value, which may be a secret.
impl<T> fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting({})", self.path)
    }
}

impl Names {
    /// Adds the settings of a section's struct.
    pub(super) fn of<T: for<'de> Deserialize<'de>>(mut self) -> Self {
        let names = RefCell::new(std::mem::take(&mut self));
        let node = Node { tree: &Tree::default(), path: String::new(), names: Some(&names) };
        // This fails only if a struct holds something that is not a setting, and then no section can be read.
        _ = T::deserialize(node);
        names.into_inner()
    }
}

/// Reads a section's struct.
pub(super) fn read<T: for<'de> Deserialize<'de>>(tree: &Tree) -> Result<T, Error> {
    T::deserialize(Node { tree, path: String::new(), names: None })
}

/// A table or a setting of the tree.
struct Node<'t> {
    tree: &'t Tree,
    path: String,
    /// Collects names.
    names: Option<&'t RefCell<Names>>,
}

impl Node<'_> {
    fn child(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { tree: self.tree, path, names: self.names }
    }

    fn leaf(self) -> Value {
        if let Some(names) = self.names {
            names.borrow_mut().settings.insert(self.path.clone());
        }
        json!({
            "given": self.tree.given(&self.path),
            "default": defaults::default(&self.path),
            "example": defaults::example(&self.path),
            "path": self.path,
        })
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == SETTING {
            return self.leaf().deserialize_struct(name, fields, visitor);
        }
        let (own, fields): (Vec<&str>, Vec<&str>) = fields.iter().partition(|name| name.starts_with(BERTH));
        if let Some(names) = self.names {
            let paths = own.iter().map(|name| ((*name).to_owned(), self.child(&name[BERTH.len()..]).path));
            let paths = paths.map(|(name, path)| (name, path.to_lowercase()));
            names.borrow_mut().variables.extend(paths);
        }
        let members = fields.into_iter().map(|name| (StrDeserializer::new(name), self.child(name)));
        visitor.visit_map(MapDeserializer::<_, Error>::new(members))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom(format!("`{}` is neither a table nor a setting", self.path)))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Node<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Environment;

    #[derive(Debug, Deserialize)]
    struct Section {
        outer: Table,
        #[serde(alias = "BERTH_PLAIN")]
        plain: Setting<String>,
    }

    #[derive(Debug, Deserialize)]
    struct Table {
        inner: Setting<String>,
    }

    #[test]
    fn names_are_read_off_the_structs_and_so_are_values() {
        let names = Names::default().of::<Section>();
        assert_eq!(names.settings.iter().collect::<Vec<_>>(), ["outer.inner", "plain"]);
        assert_eq!(names.variables.iter().collect::<Vec<_>>(), [(&"BERTH_PLAIN".into(), &"plain".into())]);

        let environment = Environment::of(&[("OCEAN__OUTER", r#"{"inner": "a"}"#), ("BERTH_PLAIN", "hush")]);
        let tree = Tree::load(&names, None, &environment, &mut Vec::new());
        let section: Section = read(&tree).unwrap();
        assert_eq!(section.outer.inner.value(), Some(&json!("a")));
        assert_eq!(section.plain.value(), Some(&json!("hush")));
        assert!(!format!("{section:?} {tree:?}").contains("hush"));
    }
}
