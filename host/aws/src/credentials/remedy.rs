//! Remedies for credentials that do not work.

use berth_core::RoleArn;

use crate::CredentialProvider;

/// Returns the remedy if the base identity has no usable credentials.
pub(super) fn credentials_remedy(provider: CredentialProvider) -> &'static str {
    match provider {
        CredentialProvider::StaticCredential => {
            "check `OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID`, `…AWS_SECRET_ACCESS_KEY` and, for temporary keys, `…AWS_SESSION_TOKEN`"
        }
        CredentialProvider::AssumeRoleWithWebIdentity => {
            "check the token in `AWS_WEB_IDENTITY_TOKEN_FILE` and that the role in `AWS_ROLE_ARN` trusts its issuer"
        }
        CredentialProvider::AssumeRole => {
            "provide credentials: keys in `OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID` and `…AWS_SECRET_ACCESS_KEY`, a profile, EKS pod identity, an ECS task role or an instance profile"
        }
    }
}

/// Returns the remedy for credentials that STS rejects for a role and accepts otherwise.
pub(super) fn refused_for_a_moment(principal: &str, role: &RoleArn) -> String {
    format!(
        "the credentials of `{principal}` work for other calls, so AWS may reject them here only temporarily; if the next resync fails as well, check that STS is active for account {} in this partition",
        role.account()
    )
}

/// Returns the remedy if a role cannot be assumed.
pub(super) fn cannot_assume(principal: &str, role: &RoleArn, external_id_sent: bool) -> String {
    let name = role.as_str().split_once(":role/").map_or("", |(_, name)| name);
    let sent = if external_id_sent { "one was sent" } else { "none was sent" };
    format!(
        "check that the role `{name}` exists in account {account} with this exact name\n\
         check that its trust policy names `{principal}` as a principal with `sts:AssumeRole`\n\
         check that the external ID (`OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID`; {sent}) equals `sts:ExternalId` in the trust policy\n\
         check that a policy of `{principal}` allows `sts:AssumeRole` on `{role}`",
        account = role.account(),
    )
}
