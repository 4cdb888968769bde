//! Services and their operations, from the embedded models.

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
    loaded: OnceLock<Result<AwsService, ModelError>>,
}

static SERVICES: LazyLock<BTreeMap<&'static str, Entry>> = LazyLock::new(|| {
    let frames = archive::index(ARCHIVE).unwrap_or_default();
    frames.into_iter().map(|(name, frame)| (name, Entry { frame, loaded: OnceLock::new() })).collect()
});

/// Why a model is not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// There is no such service with read operations.
    #[error("unknown AWS service `{name}`{}", hint(near))]
    UnknownService {
        /// The requested name.
        name: String,
        /// Similar names, most similar first.
        near: Vec<String>,
    },
    /// The service has no such operation, or the operation does more than read.
    #[error("AWS service `{service}` has no read operation `{operation}`{}", hint(near))]
    UnknownOperation {
        /// The service.
        service: String,
        /// The requested name.
        operation: String,
        /// Similar names, most similar first.
        near: Vec<String>,
    },
    /// The embedded model is invalid: a bug in the build.
    #[error("cannot read the embedded model of AWS service `{service}`: {reason}")]
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
    format!("; similar names: {}", names.join(", "))
}

/// Returns up to three similar names, most similar first.
pub(crate) fn near<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
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
pub struct AwsService(Arc<Inner>);

struct Inner {
    name: String,
    model: Model,
}

impl AwsService {
    /// Finds a service by its botocore name (`ec2`, `s3`, `ecs`, `sesv2`). Its model is unpacked once per
    /// process, on first use.
    ///
    /// # Errors
    /// [`ModelError`] with similar names if there is no such service.
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

    /// Creates a service from a model of the caller, in the format of `models/generate.py`.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] if the model does not have this format.
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self, ModelError> {
        let model =
            Model::parse(json).map_err(|reason| ModelError::Damaged { service: name.to_owned(), reason })?;
        Ok(Self(Arc::new(Inner { name: name.to_owned(), model })))
    }

    /// Returns the names of all services, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SERVICES.keys().copied()
    }

    /// Returns the service's botocore name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Finds a read operation by its AWS name (`DescribeInstances`).
    ///
    /// # Errors
    /// [`ModelError`] if the service has no such operation, or the operation does more than read.
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

    /// Returns the names of the read operations, sorted.
    pub fn operations(&self) -> impl Iterator<Item = &str> {
        self.model().operations.iter().map(|operation| operation.name.as_str())
    }

    /// Returns the service's name in a signature, unless [`Operation::endpoint`] returns another one.
    pub fn signing_name(&self) -> &str {
        &self.model().signing_name
    }

    /// Returns the service's name in host names.
    pub fn endpoint_prefix(&self) -> &str {
        &self.model().endpoint_prefix
    }

    /// Returns the service's protocol.
    pub fn protocol(&self) -> Protocol {
        self.model().protocol
    }

    /// Returns the model itself, for test servers.
    pub fn model(&self) -> &Model {
        &self.0.model
    }
}

impl fmt::Debug for AwsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.name()).finish()
    }
}

/// A read operation of a service. Cheap to clone.
#[derive(Clone)]
pub struct Operation {
    service: AwsService,
    index: usize,
}

impl Operation {
    /// Returns the operation's name (`DescribeInstances`).
    pub fn name(&self) -> &str {
        &self.model().name
    }

    /// Returns the service of the operation.
    pub fn service(&self) -> &AwsService {
        &self.service
    }

    /// Returns whether requests are unsigned.
    pub fn is_unsigned(&self) -> bool {
        self.model().unsigned
    }

    /// Returns the pagination of an operation that returns pages.
    pub fn pagination(&self) -> Option<&Pagination> {
        self.model().pagination.as_ref()
    }

    /// Returns the model itself, for test servers.
    pub fn model(&self) -> &OperationModel {
        &self.service.model().operations[self.index]
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({self})")
    }
}

/// Formats the operation as `ec2.DescribeInstances`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service.name(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_without_pagination_in_botocore_are_paged_as_well() {
        let mut input = serde_json::json!({});
        let operation = AwsService::load("sesv2").unwrap().operation("ListEmailIdentities").unwrap();
        let more =
            operation.pagination().unwrap().advance(&serde_json::json!({"NextToken": "t"}), &mut input);
        assert_eq!((more, input), (Ok(true), serde_json::json!({"NextToken": "t"})));
    }

    #[test]
    fn unknown_names_are_reported_with_similar_names() {
        let error = AwsService::load("ec3").unwrap_err().to_string();
        assert!(error.starts_with("unknown AWS service `ec3`; similar names: `ec2`"), "{error}");
        let error = AwsService::load("ec2").unwrap().operation("DescribeInstance").unwrap_err().to_string();
        assert!(
            error.contains("has no read operation `DescribeInstance`; similar names: `DescribeInstances`"),
            "{error}"
        );
        assert!(AwsService::load("").is_err());
    }

    #[test]
    fn only_read_operations_exist() {
        let ec2 = AwsService::load("ec2").unwrap();
        for write in ["RunInstances", "TerminateInstances", "ModifyVpcAttribute"] {
            assert!(ec2.operation(write).is_err(), "{write}");
        }
        assert!(AwsService::load("dynamodb").unwrap().operation("Scan").is_err());
    }

    #[test]
    fn every_embedded_model_loads() {
        let mut operations = 0;
        for name in AwsService::names() {
            operations += AwsService::load(name).unwrap().operations().count();
        }
        assert!(operations > 8_000, "{operations}");
    }
}
