//! AWS's protocols: service models, and one codec per protocol. Bytes in, bytes out.
//!
//! [`Service::load`] finds a service, [`Service::operation`] one of its read operations.
//! [`Operation::encode`] turns a JSON input into the parts of an HTTP request,
//! [`Operation::endpoint`] says where to send it, [`Operation::decode`] turns the answer into the
//! JSON that `aws <service> <operation> --output json` prints, [`Operation::decode_page`] into the
//! same with a list's items left as text, and [`Operation::decode_error`] reads what the service
//! says when it refuses. [`Pagination::advance`] makes the next request of
//! the answer. [`Operation::sample`] makes a sample answer, and [`validate_plan`] runs a
//! fetch plan on such samples.
//!
//! ```
//! use berth_aws_protocol::{EndpointOptions, Service};
//! use serde_json::json;
//!
//! let operation = Service::load("ecs")?.operation("ListClusters")?;
//! let request = operation.encode(&json!({"maxResults": 10}))?;
//! let endpoint = operation.endpoint(&"eu-west-1".parse()?, EndpointOptions::default())?;
//! assert_eq!(request.body, br#"{"maxResults":10}"#);
//! assert_eq!(endpoint.url.as_str(), "https://ecs.eu-west-1.amazonaws.com/");
//!
//! let answer = br#"{"clusterArns": ["arn:aws:ecs:eu-west-1:111122223333:cluster/a"]}"#;
//! let answer = operation.decode(200, &http::HeaderMap::new(), answer)?;
//! assert_eq!(answer["clusterArns"][0], "arn:aws:ecs:eu-west-1:111122223333:cluster/a");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What an answer looks like
//! The member names are the model's. A list that the service left out is left out. Timestamps are
//! UTC (`2024-01-02T03:04:05Z`, six digits of fraction only where it is not zero), numbers are
//! numbers, blobs are base64. A number that JSON cannot hold is the text `NaN`, `Infinity` or
//! `-Infinity`. There is no `ResponseMetadata`. Where botocore goes beyond its models (IAM's policy
//! documents, `CloudFormation` templates, a bucket's location, …), so does this crate.
//!
//! # Invariants
//! - No I/O, no clock, no environment, no credentials: the same bytes give the same bytes.
//! - Only operations that read exist.
//! - A text that is malformed, or a member that is not what the model says, costs only itself: see
//!   [`Operation::decode_list`]. Here, too, botocore differs: it fails, or hands on what came.
//! - An answer that is cut off or malformed is an error, never a shorter answer: what could not be
//!   read must not look as if it were gone. This is stricter than botocore, which takes an empty
//!   body, or a page of HTML where EC2 answers, for an answer without members.
//! - No error repeats a value of an input or an answer: it may be a secret.

mod archive;
mod body;
mod completeness;
mod decode;
mod encode;
mod endpoint;
mod endpoint_table;
mod input;
pub mod model;
mod operation_pages;
mod pagination;
mod plan_validator;
mod protocol;
mod protocols;
mod request;
mod sample;
mod service;
mod timestamp;

pub use archive::pack;
pub use body::repairs::Repairs;
pub use completeness::IncompleteList;
pub use decode::{DecodeError, Page, WireError};
pub use endpoint::{Endpoint, EndpointError, EndpointOptions};
pub use input::InputError;
pub use model::Protocol;
pub use pagination::{PageCursor, Pagination, PaginationError};
pub use plan_validator::validate_plan;
pub use request::WireRequest;
pub use service::{ModelError, Operation, Service};
