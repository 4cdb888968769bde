//! Resource documents: the form in which the host exports unmapped resources.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// One resource as `{"Type": …, "Properties": {…}, "__ExtraContext": {…}}`: the input of JQ mappings, here
/// or in the catalog. Holds valid JSON text, and does not parse it.
///
/// Its `Debug` output shows the length only: a document may contain any data of an account.
#[derive(Clone)]
pub struct Document(Box<RawValue>);

impl Document {
    /// Returns the JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl From<Box<RawValue>> for Document {
    fn from(text: Box<RawValue>) -> Self {
        Self(text)
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Document {}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.get().len())
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_serialized_unchanged_and_hidden_in_debug_output() {
        let text = r#"{"Type": "X", "Properties": {"a":1.0}}"#;
        let document = Document::from(RawValue::from_string(text.to_owned()).unwrap());
        assert_eq!(serde_json::to_string(&[&document]).unwrap(), format!("[{text}]"));
        assert_eq!(format!("{document:?}"), "Document(38 bytes)");
    }
}
