//! Each fixture: native entities equal those of the default mapping, and the snapshot.

use berth_plugin::testing::Bench;

#[test]
fn fixtures_map_as_recorded() {
    let bench = Bench::of::<codepipeline_pipeline_execution::CodePipelinePipelineExecution>(
        codepipeline_pipeline_execution::MANIFEST,
    );
    for fixture in Bench::fixtures("fixtures") {
        bench.assert_conforms(&fixture);
        insta::assert_json_snapshot!(fixture.name.clone(), bench.report(&fixture));
    }
}

#[test]
fn the_pipeline_is_found_in_every_partition() {
    let mut bench = Bench::of::<codepipeline_pipeline_execution::CodePipelinePipelineExecution>(
        codepipeline_pipeline_execution::MANIFEST,
    );
    for (partition, region) in [("aws-us-gov", "us-gov-west-1"), ("aws-cn", "cn-north-1")] {
        let context = bench.context_mut();
        context.partition = partition.to_owned();
        context.region = Some(region.to_owned());
        for fixture in Bench::fixtures("fixtures") {
            bench.assert_conforms(&fixture);
        }
    }
}
