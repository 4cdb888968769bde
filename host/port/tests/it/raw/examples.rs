//! Examples of resources, which Port shows where mappings are edited.

use berth_core::{Document, Kind, ResyncStatus};
use port_stand_in::Fault;
use serde_json::{json, value::RawValue};

use super::{KINDS, config, opened, sent, stand_in};
use crate::common::{ID, catalog};

#[tokio::test]
async fn examples_of_a_kind_are_shown_once_masked_and_never_repeated() {
    let stand_in = stand_in(&[]).await;
    let mut config = config(&stand_in);
    assert_eq!(opened(&catalog(config.clone())).await.examples, 5);
    let catalog = catalog(config.clone());
    let secret = json!({"Properties": {"Tags": [{"Key": "db-password", "Value": "hush"}],
        "Note": format!("<{}>", stand_in.options().client_secret)}});
    let secret: Document = RawValue::from_string(secret.to_string()).unwrap().into();
    let kind = Kind::new(KINDS[1]).unwrap();
    opened(&catalog).await;
    catalog.examples(&kind, std::slice::from_ref(&secret)).await.unwrap();
    assert_eq!(stand_in.count("/examples"), 0, "more may come");
    catalog.end(ResyncStatus::Completed).await.unwrap();
    let [shown] = &sent(&stand_in, "/examples")[..] else { panic!("one request") };
    assert_eq!(shown.path, format!("/v1/integration/{ID}/kinds/AWS%3A%3AS3%3A%3ABucket/examples"));
    let masked = json!({"Tags": [{"Key": "db-password", "Value": "[REDACTED]"}], "Note": "[REDACTED]"});
    assert_eq!(shown.body, json!({"examples": [{"Properties": masked}]}));

    // As soon as there are enough.
    for _ in 0..5 {
        catalog.examples(&kind, std::slice::from_ref(&secret)).await.unwrap();
    }
    assert_eq!(sent(&stand_in, "/examples")[1].body["examples"].as_array().unwrap().len(), 5);

    stand_in.fail(Fault::on("/examples").status(503).times(9));
    assert!(catalog.examples(&kind, &vec![secret; 5]).await.is_err());
    assert_eq!(stand_in.count("/examples"), 3);
    stand_in.clear_faults();

    // Too large examples are dropped, and half of them are sent if Port accepts less.
    let of = |bytes: usize| -> Document {
        RawValue::from_string(json!({"Note": "x".repeat(bytes)}).to_string()).unwrap().into()
    };
    stand_in.change_options(|options| options.ingest_max_bytes = 20_000);
    let documents = [of(2_000_000), of(9_000), of(9_000), of(9_000), of(9_000)];
    catalog.examples(&kind, &documents).await.unwrap();
    let taken: Vec<_> =
        sent(&stand_in, "/examples").into_iter().skip(3).map(|request| request.status).collect();
    assert_eq!(taken, [413, 200]);
    config.send_raw_data_examples = false;
    assert_eq!(opened(&self::catalog(config)).await.examples, 0);
}
