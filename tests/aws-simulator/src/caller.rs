//! The caller: the account, region and service that a signature names, and the credentials that STS issues.

use berth_aws_protocol::Protocol;
use http::{HeaderMap, header::AUTHORIZATION};

use crate::{error::Refusal, hash, world::World};

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The scope of a signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'h> {
    pub(crate) key: &'h str,
    pub(crate) region: &'h str,
    pub(crate) service: &'h str,
}

/// Reads the scope of a request's signature; nothing for a request without one. The signature itself is not
/// verified, but the header must be whole.
pub(crate) fn scope(headers: &HeaderMap) -> Result<Option<Scope<'_>>, Refusal> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let incomplete = || {
        Refusal::new(400, "IncompleteSignature", "The Authorization header is not that of a signed request")
    };
    let text = value.to_str().map_err(|_| incomplete())?;
    let parts = text.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(incomplete)?;
    let part = |name: &str| {
        parts
            .split(',')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
            .ok_or_else(incomplete)
    };
    let signature = part("Signature")?;
    let is_hex = signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || part("SignedHeaders")?.is_empty() {
        return Err(incomplete());
    }
    match part("Credential")?.split('/').collect::<Vec<_>>()[..] {
        [key, _date, region, service, "aws4_request"] => Ok(Some(Scope { key, region, service })),
        _ => Err(incomplete()),
    }
}

/// The account whose credentials these are: that of an assumed role, or for long-lived keys the first one.
pub(crate) fn account(world: &World, scope: Scope<'_>, headers: &HeaderMap) -> Result<u64, Refusal> {
    let unknown =
        || Refusal::new(403, "InvalidClientTokenId", "The security token included in the request is invalid");
    if !scope.key.starts_with("ASIA") {
        return Ok(world.first_account);
    }
    let account =
        account_of(scope.key).filter(|account| world.position(*account).is_some()).ok_or_else(unknown)?;
    if headers.contains_key("x-amz-security-token") { Ok(account) } else { Err(unknown()) }
}

/// The protocol of a service, for a refusal before the operation is known.
pub(crate) fn protocol_of(signing_name: &str) -> Protocol {
    match signing_name {
        "ec2" => Protocol::Ec2,
        "s3" | "cloudfront" | "route53" => Protocol::RestXml,
        "sts"
        | "iam"
        | "rds"
        | "elasticache"
        | "redshift"
        | "autoscaling"
        | "cloudformation"
        | "sns"
        | "elasticloadbalancing" => Protocol::Query,
        "lambda" | "apigateway" | "eks" | "kafka" | "backup" | "elasticfilesystem" | "es" | "ses"
        | "account" => Protocol::RestJson,
        _ => Protocol::Json,
    }
}

/// An access key id that holds the account, as AWS's own do.
pub(crate) fn key_id(account: u64, salt: u64) -> String {
    let letter = |bits: u64| char::from(ALPHABET[usize::try_from(bits & 31).unwrap_or_default()]);
    let random = hash::mix(account, salt);
    let held = (0..8).rev().map(|place| letter(account >> (5 * place)));
    "ASIA".chars().chain(held).chain((0..8).map(|place| letter(random >> (5 * place)))).collect()
}

fn account_of(key: &str) -> Option<u64> {
    let held = key.get(4..12)?;
    held.bytes().try_fold(0_u64, |account, byte| {
        let bits = ALPHABET.iter().position(|letter| *letter == byte)?;
        Some(account << 5 | bits as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hold_their_account() {
        for account in [100_000_000_000, 999_999_999_999, 1] {
            let key = key_id(account, 3);
            assert_eq!((key.len(), account_of(&key)), (20, Some(account)), "{key}");
        }
        assert_eq!(account_of("ASIA"), None);
    }

    #[test]
    fn a_scope_is_read_from_a_whole_header_only() {
        let signature = "0".repeat(64);
        let header = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, text.parse().unwrap());
            headers
        };
        let whole = header(&format!(
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/ec2/aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}"
        ));
        let found = scope(&whole).unwrap().unwrap();
        assert_eq!((found.key, found.region, found.service), ("AKIA", "eu-west-1", "ec2"));
        assert!(scope(&HeaderMap::new()).unwrap().is_none());
        for broken in [
            "Bearer x".to_owned(),
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=ab".to_owned(),
            format!("AWS4-HMAC-SHA256 Credential=AKIA/eu-west-1/ec2, SignedHeaders=host, Signature={signature}"),
        ] {
            assert_eq!(scope(&header(&broken)).unwrap_err().code, "IncompleteSignature", "{broken}");
        }
    }
}
