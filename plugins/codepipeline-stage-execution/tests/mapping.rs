//! Each fixture: native entities equal those of the default mapping, and the snapshot.

use berth_plugin::testing::Bench;

#[test]
fn fixtures_map_as_recorded() {
    let bench = Bench::of::<codepipeline_stage_execution::CodePipelineStageExecution>(
        codepipeline_stage_execution::MANIFEST,
    );
    for fixture in Bench::fixtures("fixtures") {
        bench.assert_conforms(&fixture);
        insta::assert_json_snapshot!(fixture.name.clone(), bench.report(&fixture));
    }
}
