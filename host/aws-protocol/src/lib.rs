//! AWS's protocols: service models, and one codec per protocol. Bytes in, bytes out.
//!
//! - [`AwsService::load`] finds a service, and [`AwsService::operation`] one of its read operations.
//! - [`Operation::encode`] turns a JSON input into the parts of an HTTP request, and
//!   [`Operation::endpoint`] returns its destination.
//! - [`Operation::decode`] turns the response into the JSON that `aws <service> <operation> --output json`
//!   prints, and [`Operation::decode_page`] into the same with a list's items left as text.
//!   [`Operation::decode_error`] reads an error response.
//! - [`Pagination::advance`] builds the next request from the response.
//! - [`Operation::sample`] generates a sample response, and [`validate_plan`] runs a fetch plan on such
//!   samples.
//!
//! ```
//! use berth_aws_protocol::{EndpointOptions, AwsService};
//! use serde_json::json;
//!
//! let operation = AwsService::load("ecs")?.operation("ListClusters")?;
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
//! # The decoded form of a response
//! The member names are the model's. A list that the service omitted is absent. Timestamps are UTC
//! (`2024-01-02T03:04:05Z`, with six digits of fraction only if it is not zero), numbers are numbers, blobs
//! are base64. A number that JSON cannot represent is the text `NaN`, `Infinity` or `-Infinity`. There is
//! no `ResponseMetadata`. This crate also implements botocore's additions to its models (IAM's policy
//! documents, `CloudFormation` templates, a bucket's location, …).
//!
//! # Invariants
//! - No I/O, no clock, no environment, no credentials: the same input bytes have the same output bytes.
//! - Only read operations exist.
//! - A malformed text, or a member that does not match the model, does not affect the rest: see
//!   [`Operation::decode_list`]. botocore differs here: it fails, or returns the value unchanged.
//! - A truncated or malformed response is an error, never a shorter response: unread data must not look
//!   deleted. This is stricter than botocore, which treats an empty body, or an HTML page in place of EC2's
//!   response, as a response without members.
//! - No error repeats a value of an input or a response: it may be a secret.

mod archive;
mod body;
mod completeness;
mod decode;
mod document_validator;
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
pub use service::{AwsService, ModelError, Operation};
