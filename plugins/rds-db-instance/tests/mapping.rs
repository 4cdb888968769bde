//! Each fixture: native entities equal those of the default mapping, and the snapshot.

use berth_plugin::testing::Bench;

#[test]
fn fixtures_map_as_recorded() {
    let bench = Bench::of::<rds_db_instance::RdsDbInstance>(rds_db_instance::MANIFEST);
    for fixture in Bench::fixtures("fixtures") {
        bench.assert_conforms(&fixture);
        insta::assert_json_snapshot!(fixture.name.clone(), bench.report(&fixture));
    }
}

#[test]
fn tags_come_with_their_option() {
    let mut bench = Bench::of::<rds_db_instance::RdsDbInstance>(rds_db_instance::MANIFEST);
    bench.context_mut().options = vec!["ListTagsForResourceAction".to_owned()];
    for fixture in Bench::fixtures("fixtures") {
        bench.assert_conforms(&fixture);
        if fixture.name == "normal" {
            insta::assert_json_snapshot!("normal-with-tags", bench.report(&fixture));
        }
    }
}
