//! The protocol of Kafka brokers.

use super::values::Words;

/// Whether the listener uses TLS, and user name and password.
#[derive(Debug, Clone, Copy)]
pub(super) struct KafkaProtocol {
    pub(super) tls: bool,
    pub(super) sasl: bool,
}

impl Words for KafkaProtocol {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("SASL_SSL", Self { tls: true, sasl: true }),
        ("SASL_PLAINTEXT", Self { tls: false, sasl: true }),
        ("SSL", Self { tls: true, sasl: false }),
        ("PLAINTEXT", Self { tls: false, sasl: false }),
    ];
    const ANY_CASE: bool = true;
}
