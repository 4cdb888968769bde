//! Services and their operations, as the embedded models know them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock, OnceLock},
};

use crate::{
    Pagination, Protocol, archive,
    model::{Model, OperationModel},
};

/// All models, packed by `cargo xtask models`.
static ARCHIVE: &[u8] = include_bytes!("../models/models.bin");

struct Entry {
    frame: &'static [u8],
    loaded: OnceLock<Result<Service, ModelError>>,
}

static SERVICES: LazyLock<BTreeMap<&'static str, Entry>> = LazyLock::new(|| {
    let frames = archive::index(ARCHIVE).unwrap_or_default();
    frames.into_iter().map(|(name, frame)| (name, Entry { frame, loaded: OnceLock::new() })).collect()
});

/// A model is not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// There is no such service with read operations.
    #[error("AWS service `{name}` is not known{}", hint(near))]
    UnknownService {
        /// The name that was asked for.
        name: String,
        /// Names that are alike, the nearest first.
        near: Vec<String>,
    },
    /// The service has no such operation, or it is not one that only reads.
    #[error("AWS service `{service}` has no read operation `{operation}`{}", hint(near))]
    UnknownOperation {
        /// The service.
        service: String,
        /// The name that was asked for.
        operation: String,
        /// Names that are alike, the nearest first.
        near: Vec<String>,
    },
    /// The embedded model cannot be read: a defect of the build.
    #[error("the embedded model of AWS service `{service}` cannot be read: {reason}")]
    Damaged {
        /// The service.
        service: String,
        /// The error in it.
        reason: String,
    },
}

fn hint(near: &[String]) -> String {
    if near.is_empty() {
        return String::new();
    }
    let names: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
    format!("; alike are {}", names.join(", "))
}

/// Up to three names that are alike, the nearest first.
fn near<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    const ALIKE: f64 = 0.8;
    let lower = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// An AWS service with its read operations. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    name: String,
    model: Model,
}

impl Service {
    /// Finds a service by its botocore name (`ec2`, `s3`, `ecs`, `sesv2`). Its model is unpacked
    /// once per process, on first use.
    ///
    /// # Errors
    /// [`ModelError`] with the names that are alike when there is no such service.
    pub fn load(name: &str) -> Result<Self, ModelError> {
        let Some((name, entry)) = SERVICES.get_key_value(name) else {
            return Err(ModelError::UnknownService {
                name: name.to_owned(),
                near: near(name, Self::names()),
            });
        };
        entry.loaded.get_or_init(|| Self::unpack(name, entry.frame)).clone()
    }

    fn unpack(name: &str, frame: &[u8]) -> Result<Self, ModelError> {
        let json = archive::unpack(frame)
            .map_err(|error| ModelError::Damaged { service: name.to_owned(), reason: error.to_string() })?;
        Self::from_json(name, &json)
    }

    /// A service from a model of the caller, in the form that `models/generate.py` writes.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] when the model is not of that form.
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self, ModelError> {
        let model =
            Model::parse(json).map_err(|reason| ModelError::Damaged { service: name.to_owned(), reason })?;
        Ok(Self(Arc::new(Inner { name: name.to_owned(), model })))
    }

    /// The names of all services, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SERVICES.keys().copied()
    }

    /// The service's botocore name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Finds a read operation by the name AWS gives it (`DescribeInstances`).
    ///
    /// # Errors
    /// [`ModelError`] when the service has no such operation or it does more than read.
    pub fn operation(&self, name: &str) -> Result<Operation, ModelError> {
        let operations = &self.model().operations;
        match operations.binary_search_by(|operation| operation.name.as_str().cmp(name)) {
            Ok(index) => Ok(Operation { service: self.clone(), index }),
            Err(_) => Err(ModelError::UnknownOperation {
                service: self.name().to_owned(),
                operation: name.to_owned(),
                near: near(name, self.operations()),
            }),
        }
    }

    /// The names of the read operations, sorted.
    pub fn operations(&self) -> impl Iterator<Item = &str> {
        self.model().operations.iter().map(|operation| operation.name.as_str())
    }

    /// The service's name in a signature, where [`Operation::endpoint`] says no other.
    pub fn signing_name(&self) -> &str {
        &self.model().signing_name
    }

    /// The service's name in hosts.
    pub fn endpoint_prefix(&self) -> &str {
        &self.model().endpoint_prefix
    }

    /// The protocol the service speaks.
    pub fn protocol(&self) -> Protocol {
        self.model().protocol
    }

    /// The model itself, for test servers.
    pub fn model(&self) -> &Model {
        &self.0.model
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.name()).finish()
    }
}

/// A read operation of a service. Cheap to clone.
#[derive(Clone)]
pub struct Operation {
    service: Service,
    index: usize,
}

impl Operation {
    /// The operation's name (`DescribeInstances`).
    pub fn name(&self) -> &str {
        &self.model().name
    }

    /// The service it belongs to.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Returns whether requests are sent without a signature.
    pub fn is_unsigned(&self) -> bool {
        self.model().unsigned
    }

    /// The pagination, for an operation that answers in pages.
    pub fn pagination(&self) -> Option<&Pagination> {
        self.model().pagination.as_ref()
    }

    /// The model itself, for test servers.
    pub fn model(&self) -> &OperationModel {
        &self.service.model().operations[self.index]
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({self})")
    }
}

/// `ec2.DescribeInstances`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service.name(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_botocore_does_not_page_are_paged_all_the_same() {
        let mut input = serde_json::json!({});
        let operation = Service::load("sesv2").unwrap().operation("ListEmailIdentities").unwrap();
        let more =
            operation.pagination().unwrap().advance(&serde_json::json!({"NextToken": "t"}), &mut input);
        assert_eq!((more, input), (Ok(true), serde_json::json!({"NextToken": "t"})));
    }

    #[test]
    fn unknown_names_come_with_similar_ones() {
        let error = Service::load("ec3").unwrap_err().to_string();
        assert!(error.starts_with("AWS service `ec3` is not known; alike are `ec2`"), "{error}");
        let error = Service::load("ec2").unwrap().operation("DescribeInstance").unwrap_err().to_string();
        assert!(
            error.contains("has no read operation `DescribeInstance`; alike are `DescribeInstances`"),
            "{error}"
        );
        assert!(Service::load("").is_err());
    }

    #[test]
    fn only_operations_that_read_are_there() {
        let ec2 = Service::load("ec2").unwrap();
        for write in ["RunInstances", "TerminateInstances", "ModifyVpcAttribute"] {
            assert!(ec2.operation(write).is_err(), "{write}");
        }
        assert!(Service::load("dynamodb").unwrap().operation("Scan").is_err());
    }

    #[test]
    fn every_embedded_model_loads() {
        let mut operations = 0;
        for name in Service::names() {
            operations += Service::load(name).unwrap().operations().count();
        }
        assert!(operations > 8_000, "{operations}");
    }
}
