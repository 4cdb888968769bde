//! The forms of secrets, independent of their names.
//!
//! The prefixes come from each vendor's documentation. The lengths are the shortest that the vendor issues,
//! so that an ordinary word with the same prefix is kept.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

/// The forms, each with the vendor or kind of secret. A match is replaced as a whole.
pub(super) const FORMS: &[(&str, &str)] = &[
    ("PEM block, complete or truncated", r"(?s)-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\z)"),
    ("PuTTY private key", r"(?s)PuTTY-User-Key-File-\d:.*"),
    ("age secret key", r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    ("JSON Web Token", r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{3,}(?:\.[A-Za-z0-9_-]*)?"),
    ("authorization header", r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9+/._~-]{16,}=*"),
    ("password in an address", r"\b[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"),
    // Identified by a name in the text before the secret.
    (
        "AWS secret by name",
        r#"(?i)(?:aws_?)?(?:secret_?access_?key|session_?token|security_?token|secret_?key)["']?\s*[:=>]+\s*["']?[A-Za-z0-9/+=]{16,}"#,
    ),
    (
        "AWS request signature",
        r"(?i)\b(?:x-amz-(?:signature|security-token|credential)|signature)=[A-Za-z0-9%/+=-]{16,}",
    ),
    (
        "secret by name",
        r#"(?i)\b(?:client_?secret|password|passwd|api_?key|access_?token|auth_?token|private_?key|account_?key)["']?\s*[:=]\s*["']?[^\s"',;&]{6,}"#,
    ),
    ("Azure shared access signature", r"(?i)\bsig=[A-Za-z0-9%/+]{30,}(?:%3D|=)*"),
    // Identified by their prefix. Ids of users and roles (AIDA, AROA) are not secret and are not listed.
    ("AWS access key id", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    ("AWS Bedrock key", r"\bABSK[A-Za-z0-9+/]{40,}=*"),
    ("Azure client secret", r"\b[A-Za-z0-9_~.]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}"),
    ("Google API key", r"\bAIza[A-Za-z0-9_-]{30,}"),
    ("Google OAuth client secret", r"\bGOCSPX-[A-Za-z0-9_-]{20,}"),
    ("Google OAuth token", r"\bya29\.[A-Za-z0-9_-]{20,}"),
    ("Alibaba access key id", r"\bLTAI[A-Za-z0-9]{17,}\b"),
    ("Tencent secret id", r"\bAKID[A-Za-z0-9]{32}\b"),
    ("GitHub", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    (
        "GitLab",
        r"\b(?:glpat|gldt|glrt|glrtr|glcbt|glptt|glft|glsoat|glimt|glagent|gloas|glffct|glwt)-[A-Za-z0-9_.-]{16,}",
    ),
    ("Bitbucket", r"\bATBB[A-Za-z0-9]{24,}"),
    ("Atlassian", r"\bAT(?:ATT3|CTT3)[A-Za-z0-9_=-]{20,}"),
    ("Slack token", r"\bxox[abeprs]-[A-Za-z0-9-]{10,}|\bxapp-\d-[A-Za-z0-9-]{10,}"),
    ("Slack webhook", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}"),
    ("Discord webhook", r"discord(?:app)?\.com/api/webhooks/\d+/[A-Za-z0-9_-]{30,}"),
    ("Telegram bot", r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    ("HashiCorp Vault", r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}|\bs\.[A-Za-z0-9]{24}\b"),
    ("Terraform Cloud", r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{40,}"),
    ("Pulumi", r"\bpul-[0-9a-f]{40}\b"),
    ("Doppler", r"\bdp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{20,}"),
    (
        "1Password",
        r"\bops_eyJ[A-Za-z0-9+/=_-]{20,}|\bA3-[A-Z0-9]{6}-[A-Z0-9]{6}-(?:[A-Z0-9]{5}-){3}[A-Z0-9]{5}\b",
    ),
    ("npm", r"\bnpm_[A-Za-z0-9]{30,}"),
    ("PyPI", r"\bpypi-[A-Za-z0-9_-]{30,}"),
    ("RubyGems", r"\brubygems_[0-9a-f]{40,}"),
    ("crates.io", r"\bcio[A-Za-z0-9]{32}\b"),
    ("NuGet", r"\boy2[a-z0-9]{43}\b"),
    ("Clojars", r"\bCLOJARS_[a-z0-9]{50,}"),
    ("Docker Hub", r"\bdckr_[op]at_[A-Za-z0-9_-]{20,}"),
    ("Artifactory", r"\bAKCp[A-Za-z0-9]{50,}|\bcmVmdGtu[A-Za-z0-9]{40,}"),
    ("Stripe", r"\b(?:[sr]k_(?:live|test|prod)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{20,})"),
    ("Square", r"\bsq0(?:atp|csp|idp)-[A-Za-z0-9_-]{20,}"),
    ("Shopify", r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b"),
    ("Plaid", r"\baccess-(?:sandbox|development|production)-[0-9a-f]{8}-[0-9a-f-]{20,}"),
    ("EasyPost", r"\bEZ[AT]K[A-Za-z0-9]{50,}"),
    ("Shippo", r"\bshippo_(?:live|test)_[0-9a-f]{40}\b"),
    ("Twilio", r"\bSK[0-9a-f]{32}\b"),
    ("SendGrid", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    ("Mailgun", r"\bkey-[0-9a-f]{32}\b"),
    ("Mailchimp", r"\b[0-9a-f]{32}-us\d{1,2}\b"),
    ("Brevo", r"\bxkeysib-[0-9a-f]{40,}"),
    ("New Relic", r"\bNR(?:AK|II|JS|BR)-[A-Za-z0-9_-]{19,}"),
    ("Grafana", r"\bgl(?:c_[A-Za-z0-9+/=]{30,}|sa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8})"),
    ("Dynatrace", r"\bdt0[a-z]\d{2}\.[A-Z0-9]{24}\.[A-Z0-9]{40,}"),
    ("Sentry", r"\bsntry[su]_[A-Za-z0-9+/=_-]{30,}"),
    ("SonarQube", r"\bsq[apu]_[0-9a-f]{40}\b"),
    ("Linear", r"\blin_(?:api|oauth)_[A-Za-z0-9]{30,}"),
    ("Notion", r"\b(?:secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,})"),
    ("Airtable", r"\bpat[A-Za-z0-9]{14}\.[0-9a-f]{64}\b"),
    ("Postman", r"\bPMAK-[0-9a-f]{24}-[0-9a-f]{34}\b"),
    ("Typeform", r"\btfp_[A-Za-z0-9_.=-]{40,}"),
    ("DigitalOcean", r"\bdo[opr]_v1_[0-9a-f]{64}\b"),
    ("Heroku", r"\bHRKU-[A-Za-z0-9_-]{30,}"),
    ("Fly.io", r"\bfm[12][ar]?_[A-Za-z0-9+/=_-]{40,}|\bfo1_[A-Za-z0-9_-]{40,}"),
    ("PlanetScale", r"\bpscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{30,}"),
    ("Supabase", r"\bsbp_[0-9a-f]{40}\b"),
    ("Netlify", r"\bnfp_[A-Za-z0-9]{30,}"),
    ("Cloudflare origin CA", r"\bv1\.0-[0-9a-f]{24}-[0-9a-f]{100,}"),
    ("Databricks", r"\bdapi[0-9a-f]{32}\b"),
    ("OpenAI", r"\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{16,}T3BlbkFJ[A-Za-z0-9_-]{16,}"),
    ("Anthropic", r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    ("Hugging Face", r"\bhf_[A-Za-z0-9]{30,}"),
    ("Replicate", r"\br8_[A-Za-z0-9]{30,}"),
    ("Perplexity", r"\bpplx-[A-Za-z0-9]{40,}"),
    ("Tailscale", r"\btskey-[a-z]+-[A-Za-z0-9]+-[A-Za-z0-9]{16,}"),
    ("Buildkite", r"\bbk(?:ua|aj)_[0-9a-f]{40}\b"),
    ("CircleCI", r"\bCCI(?:PAT|PRJ)_[A-Za-z0-9]{20,}_[0-9a-f]{40}\b"),
    ("LaunchDarkly", r"\b(?:sdk|mob)-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
    ("Octopus Deploy", r"\bAPI-[A-Z0-9]{26,}\b"),
    ("OpenShift", r"\bsha256~[A-Za-z0-9_-]{43}"),
    ("Okta", r"(?i)\bSSWS\s+[A-Za-z0-9_-]{30,}"),
    ("Prefect", r"\bpn[ub]_[A-Za-z0-9]{36}\b"),
    ("ReadMe", r"\brdme_[a-z0-9]{60,}"),
    ("Sourcegraph", r"\bsgp_(?:[0-9a-fA-F]{16}_|local_)?[0-9a-fA-F]{40}\b"),
    ("Facebook", r"\bEAA[A-Za-z0-9]{60,}"),
    ("Infracost", r"\bico-[A-Za-z0-9]{32}\b"),
    ("Adafruit", r"\baio_[A-Za-z0-9]{28}\b"),
];

/// All forms as one pattern. If two forms match at the same position, the earlier one in the table wins.
static ANY: LazyLock<Regex> = LazyLock::new(|| {
    let any = FORMS.iter().map(|(_, form)| format!("(?:{form})")).collect::<Vec<_>>().join("|");
    // ASCII word boundaries: Unicode boundaries would make every search slow.
    let any = any.replace(r"\b", r"(?-u:\b)");
    Regex::new(&any).unwrap_or_else(|_| unreachable!("constants that the tests compile"))
});

/// Returns whether a text contains a secret.
pub(super) fn holds_secret(text: &str) -> bool {
    ANY.is_match(text)
}

/// Replaces each secret in the text with `with`.
pub(super) fn replaced<'t>(text: &'t str, with: &str) -> Cow<'t, str> {
    ANY.replace_all(text, regex::NoExpand(with))
}
