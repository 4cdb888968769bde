//! Resource documents: the form in which resources leave a plugin unmapped.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// One resource as `{"Type": …, "Properties": {…}, "__ExtraContext": {…}}`: what mappings in JQ are
/// evaluated on, here or by the catalog. Holds JSON text that is valid, and does not look into it.
///
/// Its `Debug` shows the length only: a document may hold anything that an account holds.
#[derive(Clone)]
pub struct Document(Box<RawValue>);

impl Document {
    /// The JSON text.
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
    fn a_document_is_written_as_it_is_and_not_shown() {
        let text = r#"{"Type": "X", "Properties": {"a":1.0}}"#;
        let document = Document::from(RawValue::from_string(text.to_owned()).unwrap());
        assert_eq!(serde_json::to_string(&[&document]).unwrap(), format!("[{text}]"));
        assert_eq!(format!("{document:?}"), "Document(38 bytes)");
    }
}
