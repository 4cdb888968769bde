use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Returns `length` characters of an alphabet. The tests assemble tokens here, so that no secret scanner
/// reports them as leaked.
fn some(alphabet: &str, length: usize) -> String {
    alphabet.chars().cycle().take(length).collect()
}

fn alnum(length: usize) -> String {
    some("Ab3dE6gH9jK2mN5pQ8sT1vW4yZ7c", length)
}

fn hex(length: usize) -> String {
    some("3f7a0b9c4d1e8265", length)
}

fn upper(length: usize) -> String {
    some("A2BC3DE4FG5HI6", length)
}

fn lower(length: usize) -> String {
    some("a2bc3de4fg5hi6", length)
}

fn uuid() -> String {
    format!("{}-{}-4{}-{}-{}", hex(8), hex(4), hex(3), hex(4), hex(12))
}

/// A form's name, and a token of it.
type Sample = (&'static str, String);

/// A token of each form, at least one.
fn tokens() -> Vec<Sample> {
    [keys_and_headers(), clouds(), code_and_chat(), vaults_and_packages(), business(), operations()].concat()
}

fn starts(starts: &str, mut rest: String) -> String {
    rest.insert_str(0, starts);
    rest
}

fn keys_and_headers() -> Vec<Sample> {
    let pem = |what: &str| format!("-----BEGIN {what}-----\nMII{}\n-----END {what}-----", alnum(60));
    vec![
        ("PEM block, complete or truncated", pem("RSA PRIVATE KEY")),
        ("PEM block, complete or truncated", pem("OPENSSH PRIVATE KEY")),
        ("PEM block, complete or truncated", format!("-----BEGIN EC PRIVATE KEY-----\nMII{}", alnum(9))),
        ("PuTTY private key", format!("PuTTY-User-Key-File-3: ssh-ed25519\n{}", alnum(40))),
        ("age secret key", starts("AGE-SECRET-KEY-1", upper(58))),
        ("JSON Web Token", format!("eyJ{}.{}.{}", alnum(30), alnum(40), alnum(43))),
        ("JSON Web Token", "eyJhbGciOiJIUzI1NiJ9.e30.x".to_owned()),
        ("authorization header", starts("Bearer ", alnum(40))),
        ("authorization header", starts("basic ", alnum(24) + "==")),
        ("password in an address", format!("postgres://me:{}@", alnum(8))),
        ("password in an address", format!("redis://:{}@", alnum(8))),
        ("AWS secret by name", starts("aws_secret_access_key=", alnum(40))),
        ("AWS secret by name", format!("SessionToken\": \"{}", alnum(80))),
        ("AWS request signature", starts("X-Amz-Signature=", hex(64))),
        ("secret by name", starts("client_secret=", alnum(20))),
        ("secret by name", starts("AccountKey=", alnum(86) + "==")),
    ]
}

fn clouds() -> Vec<Sample> {
    vec![
        ("Azure shared access signature", starts("sig=", alnum(43) + "%3D")),
        ("AWS access key id", starts("AKIA", upper(16))),
        ("AWS access key id", starts("ASIA", upper(16))),
        ("AWS Bedrock key", starts("ABSK", alnum(109))),
        ("Azure client secret", format!("{}8Q~{}", alnum(3), alnum(34))),
        ("Google API key", starts("AIza", alnum(35))),
        ("Google OAuth client secret", starts("GOCSPX-", alnum(28))),
        ("Google OAuth token", starts("ya29.", alnum(60))),
        ("Alibaba access key id", starts("LTAI", alnum(20))),
        ("Tencent secret id", starts("AKID", alnum(32))),
    ]
}

fn code_and_chat() -> Vec<Sample> {
    vec![
        ("GitHub", starts("ghp_", alnum(36))),
        ("GitHub", starts("gho_", alnum(36))),
        ("GitHub", starts("ghu_", alnum(36))),
        ("GitHub", starts("ghs_", alnum(36))),
        ("GitHub", starts("ghr_", alnum(36))),
        ("GitHub", format!("github_pat_{}_{}", alnum(22), alnum(59))),
        ("GitLab", starts("glpat-", alnum(20))),
        ("GitLab", starts("gldt-", alnum(20))),
        ("GitLab", starts("glrt-", alnum(20))),
        ("GitLab", starts("glcbt-", alnum(20))),
        ("GitLab", starts("glptt-", hex(40))),
        ("GitLab", starts("glagent-", alnum(50))),
        ("Bitbucket", starts("ATBB", alnum(32))),
        ("Atlassian", starts("ATATT3", alnum(180) + "=")),
        ("Slack token", format!("xoxb-{}-{}", some("0123456789", 11), alnum(24))),
        ("Slack token", format!("xoxp-{}-{}", some("0123456789", 11), hex(32))),
        ("Slack token", format!("xapp-1-{}-{}", upper(11), hex(64))),
        ("Slack webhook", format!("hooks.slack.com/services/T{}/B{}/{}", upper(9), upper(9), alnum(24))),
        ("Discord webhook", format!("discord.com/api/webhooks/{}/{}", some("123456789", 18), alnum(68))),
        ("Telegram bot", format!("{}:AA{}", some("123456789", 9), alnum(33))),
    ]
}

fn vaults_and_packages() -> Vec<Sample> {
    vec![
        ("HashiCorp Vault", starts("hvs.", alnum(24))),
        ("HashiCorp Vault", starts("hvb.", alnum(90))),
        ("HashiCorp Vault", starts("s.", alnum(24))),
        ("Terraform Cloud", format!("{}.atlasv1.{}", alnum(14), alnum(67))),
        ("Pulumi", starts("pul-", hex(40))),
        ("Doppler", starts("dp.pt.", alnum(43))),
        ("1Password", starts("ops_eyJ", alnum(250))),
        ("npm", starts("npm_", alnum(36))),
        ("PyPI", starts("pypi-AgEIcHlwaS5vcmc", alnum(80))),
        ("RubyGems", starts("rubygems_", hex(48))),
        ("crates.io", starts("cio", alnum(32))),
        ("NuGet", starts("oy2", lower(43))),
        ("Clojars", starts("CLOJARS_", hex(60))),
        ("Docker Hub", starts("dckr_pat_", alnum(27))),
        ("Artifactory", starts("AKCp", alnum(69))),
        ("Artifactory", starts("cmVmdGtu", alnum(56))),
    ]
}

fn business() -> Vec<Sample> {
    vec![
        ("Stripe", starts("sk_live_", alnum(24))),
        ("Stripe", starts("rk_test_", alnum(24))),
        ("Stripe", starts("whsec_", alnum(32))),
        ("Square", starts("sq0atp-", alnum(22))),
        ("Shopify", starts("shpat_", hex(32))),
        ("Plaid", starts("access-production-", uuid())),
        ("EasyPost", starts("EZAK", alnum(54))),
        ("Shippo", starts("shippo_live_", hex(40))),
        ("Twilio", starts("SK", hex(32))),
        ("SendGrid", format!("SG.{}.{}", alnum(22), alnum(43))),
        ("Mailgun", starts("key-", hex(32))),
        ("Mailchimp", hex(32) + "-us14"),
        ("Brevo", format!("xkeysib-{}-{}", hex(64), alnum(16))),
    ]
}

fn operations() -> Vec<Sample> {
    vec![
        ("New Relic", starts("NRAK-", upper(27))),
        ("Grafana", starts("glc_", alnum(60))),
        ("Grafana", format!("glsa_{}_{}", alnum(32), hex(8))),
        ("Dynatrace", format!("dt0c01.{}.{}", upper(24), upper(64))),
        ("Sentry", starts("sntryu_", hex(64))),
        ("SonarQube", starts("squ_", hex(40))),
        ("Linear", starts("lin_api_", alnum(40))),
        ("Notion", starts("ntn_", alnum(46))),
        ("Airtable", format!("pat{}.{}", alnum(14), hex(64))),
        ("Postman", format!("PMAK-{}-{}", hex(24), hex(34))),
        ("Typeform", starts("tfp_", alnum(59))),
        ("DigitalOcean", starts("dop_v1_", hex(64))),
        ("Heroku", starts("HRKU-", uuid())),
        ("Fly.io", starts("fm2_", alnum(80))),
        ("PlanetScale", starts("pscale_tkn_", alnum(43))),
        ("Supabase", starts("sbp_", hex(40))),
        ("Netlify", starts("nfp_", alnum(36))),
        ("Cloudflare origin CA", format!("v1.0-{}-{}", hex(24), hex(146))),
        ("Databricks", starts("dapi", hex(32))),
        ("OpenAI", format!("sk-{}T3BlbkFJ{}", alnum(20), alnum(20))),
        ("OpenAI", format!("sk-proj-{}T3BlbkFJ{}", alnum(74), alnum(74))),
        ("Anthropic", starts("sk-ant-api03-", alnum(95))),
        ("Hugging Face", starts("hf_", alnum(34))),
        ("Replicate", starts("r8_", alnum(37))),
        ("Perplexity", starts("pplx-", alnum(48))),
        ("Tailscale", format!("tskey-auth-{}-{}", alnum(12), alnum(32))),
        ("Buildkite", starts("bkua_", hex(40))),
        ("CircleCI", format!("CCIPAT_{}_{}", alnum(22), hex(40))),
        ("LaunchDarkly", starts("sdk-", uuid())),
        ("Octopus Deploy", starts("API-", upper(28))),
        ("OpenShift", starts("sha256~", alnum(43))),
        ("Okta", starts("SSWS ", alnum(42))),
        ("Prefect", starts("pnu_", alnum(36))),
        ("ReadMe", starts("rdme_", lower(70))),
        ("Sourcegraph", format!("sgp_{}_{}", hex(16), hex(40))),
        ("Facebook", starts("EAA", alnum(180))),
        ("Infracost", starts("ico-", alnum(32))),
        ("Adafruit", starts("aio_", alnum(28))),
    ]
}

fn recorded_json(value: &Value) -> Value {
    serde_json::from_str(&recording(value.to_string().as_bytes()).unwrap().0).unwrap()
}

#[test]
fn each_token_is_removed_from_all_three_outputs() {
    let redactor = Redactor::new([]);
    for (whose, token) in tokens() {
        let text = format!("said {token} and went on");
        let logged = redactor.text(text.clone());
        assert!(logged.starts_with("said [REDACTED]") && !logged.contains(&token), "{whose}: {logged}");
        let mut document = json!({"Description": text});
        example(&mut document, &[]);
        assert_eq!(document, json!({"Description": MASK}), "{whose}");
        assert_eq!(
            recorded_json(&json!({"Description": text})),
            json!({"Description": RECORDED_MASK}),
            "{whose}"
        );
    }
}

#[test]
fn each_form_matches_its_own_tokens() {
    let tried: BTreeSet<&str> = tokens().iter().map(|(whose, _)| *whose).collect();
    let known: BTreeSet<&str> = forms::FORMS.iter().map(|(whose, _)| *whose).collect();
    assert_eq!(tried, known);
    assert!(tried.len() >= 60, "{}", tried.len());
    for (whose, form) in forms::FORMS {
        let form = regex::Regex::new(form).unwrap();
        let of_form = tokens().into_iter().filter(|(of, _)| of == whose);
        for (_, token) in of_form {
            assert!(form.is_match(&token), "{whose}: {token}");
        }
    }
}

#[test]
fn secrets_are_replaced_and_the_words_around_them_are_kept() {
    let redactor = Redactor::new(
        ["hush-hush".to_owned(), "hush-hush-hush".into(), "tiny".into()].map(SecretString::from),
    );
    for (text, redacted) in [
        ("said hush-hush-hush twice: hush-hush", "said [REDACTED] twice: [REDACTED]"),
        ("key AKIAIOSFODNN7EXAMPLE is refused", "key [REDACTED] is refused"),
        ("Authorization: Bearer abc.def-ghi_jkl.mno=", "Authorization: [REDACTED]"),
        (r#"{"SecretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfi"}"#, r#"{"[REDACTED]"}"#),
        ("client_secret: 'abcdef-ghijkl', retried", "[REDACTED]', retried"),
        ("proxy http://user:pa55@proxy.example:3128 down", "proxy [REDACTED]proxy.example:3128 down"),
    ] {
        assert_eq!(redactor.text(text.to_owned()), redacted, "{text}");
    }
}

#[test]
fn text_without_secrets_is_kept() {
    let redactor = Redactor::new([SecretString::from("tiny".to_owned())]);
    for text in [
        "unit complete",
        "tiny",
        "arn:aws:iam::111111111111:role/PortOceanReadRole",
        "arn:aws:secretsmanager:eu-west-1:111111111111:secret:db-AbCdEf",
        "AROAIOSFODNN7EXAMPLE is the id of a role",
        "Unable to assume role: check the trust policy and the external ID",
        "a bearer of bad news",
        "bearer authentication is refused",
        "https://api.getport.io/v1/blueprints",
        "https://example.com/a@b:c",
        "the secret access key is refused",
        "AWS::SecretsManager::Secret in eu-west-1",
        "could not get an access token: Port answered 401",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "i-0123456789abcdef0 in vpc-0123456789abcdef0",
        "key-rotation is on",
        "123e4567-e89b-42d3-a456-426614174000",
    ] {
        assert_eq!(redactor.text(text.to_owned()), text);
        assert_eq!(recorded_json(&json!([text])), json!([text]));
    }
}

#[test]
fn log_objects_are_redacted_at_every_depth() {
    let object = json!({
        "a": ["hush-hush", {"hush-hush": "x hush-hush"}], "n": 1, "b": true, "z": null,
        "nextToken": "abc", "tokens": 3,
    });
    let redactor = Redactor::new([SecretString::from("hush-hush".to_owned())]);
    assert_eq!(
        Value::Object(redactor.object(object.as_object().unwrap().clone())),
        json!({
            "a": ["[REDACTED]", {"[REDACTED]": "x [REDACTED]"}], "n": 1, "b": true, "z": null,
            "nextToken": "[REDACTED]", "tokens": 3,
        })
    );
}

#[test]
fn examples_lose_secrets_by_name_by_label_by_form_and_by_value() {
    let mut document = json!({
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "FunctionName": "f",
            "Environment": {"Variables": {"DB_PASSWORD": "hush", "STAGE": "prod", "PORT": 5432}},
            "Tags": [{"Key": "api-token", "Value": "hush"}, {"Key": "team", "Value": "red"}],
            "Settings": [{"Name": "MasterUserPassword", "Value": {"Inner": ["hush", 7, true, null]}}],
            "Arguments": {"--url": "postgres://me:hush@db.example:5432/x", "--site": "https://example.com/a@b:c"},
            "Note": "the-client-secret-itself is here",
        },
    });
    example(&mut document, &["the-client-secret-itself", ""]);
    assert_eq!(
        document,
        json!({
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "FunctionName": "f",
                "Environment": {"Variables": {"DB_PASSWORD": MASK, "STAGE": "prod", "PORT": 5432}},
                "Tags": [{"Key": "api-token", "Value": MASK}, {"Key": "team", "Value": "red"}],
                "Settings": [{"Name": "MasterUserPassword", "Value": {"Inner": [MASK, MASK, true, null]}}],
                "Arguments": {"--url": MASK, "--site": "https://example.com/a@b:c"},
                "Note": MASK,
            },
        })
    );
}

#[test]
fn recordings_lose_secrets_and_keep_the_rest() {
    let r = RECORDED_MASK;
    for (before, after) in [
        (json!({"MasterUserPassword": "hunter2"}), json!({"MasterUserPassword": r})),
        (
            json!({"Environment": {"Variables": {"STAGE": "prod", "N": 1}}}),
            json!({"Environment": {"Variables": {"STAGE": r, "N": 1}}}),
        ),
        (
            json!({"environment": [{"name": "URL", "value": "x"}]}),
            json!({"environment": [{"name": "URL", "value": r}]}),
        ),
        (
            json!({"Tags": [{"Key": "api-key", "Value": "v"}, {"Key": "team", "Value": "t"}]}),
            json!({"Tags": [{"Key": "api-key", "Value": r}, {"Key": "team", "Value": "t"}]}),
        ),
        (
            json!({"Parameters": [{"ParameterKey": "DbPassword", "ParameterValue": "v"}]}),
            json!({"Parameters": [{"ParameterKey": "DbPassword", "ParameterValue": r}]}),
        ),
        // Paging needs the token.
        (json!({"NextToken": "abc"}), json!({"NextToken": "abc"})),
    ] {
        assert_eq!(recorded_json(&before), after);
    }
}

#[test]
fn a_recording_keeps_names_that_only_refer_to_a_secret() {
    let value = json!({
        "SecretArn": "arn:aws:secretsmanager:eu-west-1:1:secret:db", "PasswordLastUsed": "2026-01-01",
        "MasterUserSecret": {"SecretArn": "arn:x", "KmsKeyId": "k"}, "AccessKeyId": "k-1",
        "Name": "my-secret", "ARN": "arn:aws:secretsmanager:eu-west-1:1:secret:db", "SecretVersion": "1",
    });
    assert_eq!(recorded_json(&value), value);
}

proptest! {
    #[test]
    fn no_text_panics_or_survives_under_a_secret_name(text in "\\PC{0,40}") {
        let mut document = json!({"Plain": text, "Password": text});
        example(&mut document, &["hush"]);
        prop_assert_eq!(&document["Password"], MASK);
    }

    #[test]
    fn a_recording_without_secrets_stays_as_it_is(name in "[a-z]{1,8}", number in any::<f64>()) {
        let text = format!("[ {{\"item\" : {{\"{name}\": [1.0, {}, null]}}}} ]", json!(number));
        let (same, count) = recording(text.as_bytes()).unwrap();
        prop_assert!(count > 0 || same == text);
    }

    #[test]
    fn recording_is_idempotent(text in "\\PC{0,40}") {
        let value = json!({"Environment": {"Variables": {"A": text}}, "Password": [text], "B": text});
        let once = recorded_json(&value);
        prop_assert_eq!(recording(once.to_string().as_bytes()).unwrap().1, 0);
    }
}
