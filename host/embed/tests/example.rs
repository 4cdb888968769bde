//! Runs `examples/embed` unchanged.
#![expect(clippy::unwrap_used, reason = "tests; clippy.toml exempts only functions with #[test]")]

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Cargo builds the examples before it runs the tests of a package, into a folder next to the tests'.
fn example(arguments: &[&Path]) -> Output {
    let test = env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap().join("examples/embed");
    assert!(
        built.is_file(),
        "{} is missing: run `cargo build --workspace --examples` first",
        built.display()
    );
    Command::new(built).args(arguments).env_clear().output().unwrap()
}

fn plugins() -> PathBuf {
    let components = env::var_os("BERTH_TEST_COMPONENTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components"), PathBuf::from);
    let plugins = components.join("plugins");
    assert!(plugins.is_dir(), "{} is missing: run `cargo xtask components` first", plugins.display());
    plugins
}

#[test]
fn the_example_syncs_a_recording_into_memory_and_prints_what_happens() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/embed/recording");
    let output = example(&[&plugins(), &recording]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        said,
        "reading  111122223333 global AWS::S3::Bucket\n\
         read     2 resources\n\
         wrote    s3Bucket/arn:aws:s3:::acme-logs\n\
         wrote    s3Bucket/arn:aws:s3:::acme-site\n\
         Done: 2 entities in the catalog\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "a library prints nothing");
}

#[test]
fn the_example_says_what_it_needs() {
    let output = example(&[]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("a directory of plugins and a recording"));
}
