//! `AWS::ACM::Certificate`.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
    Timestamp,
};
use serde::Deserialize;

berth_plugin::export!(AcmCertificate, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::ACM::Certificate`.
pub struct AcmCertificate;

/// What an entity needs of a certificate.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Certificate<'a> {
    #[serde(borrow)]
    certificate_arn: Json<'a>,
    domain_name: Json<'a>,
    subject_alternative_name_summaries: Json<'a>,
    status: Json<'a>,
    r#type: Json<'a>,
    key_algorithm: Json<'a>,
    in_use: Json<'a>,
    renewal_eligibility: Json<'a>,
    not_before: Timestamp<'a>,
    not_after: Timestamp<'a>,
    created_at: Timestamp<'a>,
    issued_at: Timestamp<'a>,
    imported_at: Timestamp<'a>,
}

/// What an entity needs beside the certificate.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Steps<'a> {
    #[serde(borrow)]
    tags: Json<'a>,
}

/// What only the description tells. The rest comes from the list, so that it means the same with the
/// option and without (`KeyUsages` differs in form).
const DETAILS: [&str; 15] = [
    "SubjectAlternativeNames",
    "DomainValidationOptions",
    "Serial",
    "Subject",
    "Issuer",
    "RevocationReason",
    "SignatureAlgorithm",
    "InUseBy",
    "FailureReason",
    "RenewalSummary",
    "CertificateAuthorityArn",
    "Options",
    "UpdateSummary",
    "AcmeEndpointArn",
    "AcmeAccountId",
];

const PROPERTIES: Properties = Properties::keeping_unknown(&[
    Property::new("CertificateArn").required(),
    Property::new("CreatedAt").time(),
    Property::new("ImportedAt").time(),
    Property::new("IssuedAt").time(),
    Property::new("NotAfter").time(),
    Property::new("NotBefore").time(),
    Property::new("RevokedAt").time(),
]);

impl Mapper for AcmCertificate {
    const KIND: &'static str = "AWS::ACM::Certificate";
    type Resource<'a> = Resource<Certificate<'a>, Steps<'a>>;

    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        let Resource { item: certificate, steps, .. } = resource;
        out.entity("acmCertificate", certificate.certificate_arn)
            .title(certificate.domain_name)
            .property("arn", certificate.certificate_arn)
            .property("subjectAlternativeNames", certificate.subject_alternative_name_summaries)
            .property("status", certificate.status)
            .property("type", certificate.r#type)
            .property("keyAlgorithm", certificate.key_algorithm)
            .property("inUse", certificate.in_use)
            .property("renewalEligibility", certificate.renewal_eligibility)
            .property("notBefore", certificate.not_before)
            .property("notAfter", certificate.not_after)
            .property("createdAt", certificate.created_at)
            .property("issuedAt", certificate.issued_at)
            .property("importedAt", certificate.imported_at)
            .property("tags", steps.tags)
            .relation("account", &context.account_id);
        Ok(())
    }

    fn documents(_: &Context, resource: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        let mut document = out.document(&PROPERTIES);
        document.merge(resource.item).origin();
        if let Some(description) = resource.step("describe") {
            let description = description.fields()?;
            for property in DETAILS {
                if let Some(value) = description.get(property) {
                    document.set(property, value);
                }
            }
        }
        if let Some(tags) = resource.step("tags") {
            document.set("Tags", tags);
        }
        Ok(())
    }
}
