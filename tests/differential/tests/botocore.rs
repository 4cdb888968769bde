//! Compares Berth with botocore. Needs a Python with the pinned botocore; see [`berth_differential::python`].
#![expect(clippy::print_stdout, reason = "the counts are what a reader of the run looks for")]

use std::thread;

use berth_aws_protocol::AwsService;
use berth_differential::Comparison;

/// As many as a common machine has processors: generating is the slow part.
const SHARDS: usize = 2;

fn report(title: &str, comparison: &Comparison) {
    println!(
        "{title}: {} operations, {} differences",
        comparison.operations.len(),
        comparison.differences.len()
    );
    for (name, count) in &comparison.counts {
        println!("  {count:>6} {name}");
    }
    for difference in comparison.differences.iter().take(40) {
        println!("- {difference}");
    }
}

#[test]
fn every_operation_reads_and_writes_as_botocore_does() {
    let only = std::env::var("BERTH_TEST_SERVICES").unwrap_or_default();
    let mut whole = Comparison::default();
    thread::scope(|scope| {
        let shards: Vec<_> = (0..SHARDS)
            .map(|shard| {
                let only = &only;
                scope.spawn(move || {
                    let (shard, shards) = (shard.to_string(), SHARDS.to_string());
                    let mut arguments = vec!["services", &shard, &shards];
                    arguments.extend(only.split_whitespace());
                    Comparison::run(&arguments).unwrap()
                })
            })
            .collect();
        for shard in shards {
            whole.merge(shard.join().unwrap());
        }
    });
    report("botocore, every read operation", &whole);
    assert!(
        whole.differences.is_empty(),
        "{} differences, the first: {}",
        whole.differences.len(),
        whole.differences[0]
    );
    if only.is_empty() {
        let operations: usize =
            AwsService::names().map(|name| AwsService::load(name).unwrap().operations().count()).sum();
        assert_eq!(whole.operations.len(), operations, "operations without a single comparison");
    }
}

/// Where the source archive of botocore cannot be had, there is nothing to compare, and the test
/// says so.
#[test]
fn botocores_protocol_tests_pass() {
    let comparison = Comparison::run(&["vectors", &berth_differential::cache().to_string_lossy()]).unwrap();
    report("botocore's protocol tests", &comparison);
    // Where Berth differs on purpose, and why.
    let allowed = [
        // botocore fails these tests of its own (its ignore list names them): it sends a document
        // in the payload as the value of a member named null, and takes a list of dates apart at
        // the commas within them.
        "/DocumentTypeAsPayloadInput ",
        "/DocumentTypeAsPayloadInputString ",
        "InputAndOutputWithTimestampHeaders ",
        // A float is sent in 64 bits, whatever its width in the model.
        "/RpcV2CborSimpleScalarProperties ",
        "/RpcV2CborSupportsNaNFloatInputs ",
        "/RpcV2CborSupportsInfinityFloatInputs ",
        "/RpcV2CborSupportsNegativeInfinityFloatInputs ",
        // An empty body where the model has members for it: see `Operation::decode`.
        "/RestJsonIgnoreQueryParamsInResponseNoPayload ",
        // An object where the model has a text: botocore hands it on, Berth its JSON, as a text is what
        // whoever reads it expects. See `Operation::decode_list`, which has more that no case here shows:
        // malformed text is replaced, and a member of another type is left out where botocore fails.
        "legacy/output/json/3/1 ",
        // All headers as a map: their names are in lower case, as HTTP/2 sends them.
        "legacy/output/rest-json/9/0 ",
    ];
    let unexpected: Vec<_> = comparison
        .differences
        .iter()
        .filter(|difference| !allowed.iter().any(|id| difference.contains(id)))
        .collect();
    assert!(unexpected.is_empty(), "{} differences, the first: {}", unexpected.len(), unexpected[0]);
}
