//! The guides, followed as they stand.

use berth_e2e::World;

#[test]
fn accounts_are_specified_as_the_guide_says() {
    let world = World::with_accounts(2).buckets(2).instances(1).clusters(1).own_aws().build();
    let expected = world.expected();
    world.shell().follow("examples/guides/accounts.md");
    assert_eq!(world.entities(), expected);
}
