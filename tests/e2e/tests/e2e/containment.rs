//! Plugins that misbehave.

use berth_e2e::World;

#[test]
fn plugins_that_loop_or_eat_memory_fail_their_own_units_only() {
    let mut world = World::with_accounts(2).buckets(1).guest("loop-forever").guest("memory-bomb").build();
    world.set("OCEAN__PLUGIN_DEADLINE_SECONDS", "1");
    let run = world.sync();
    run.exits(3).says("loop-forever").says("memory-bomb");

    let mut failed: Vec<String> = run.units("failed").into_iter().map(|(_, _, kind)| kind).collect();
    failed.sort();
    assert_eq!(failed, ["Hostile::Loop", "Hostile::Loop", "Hostile::Memory", "Hostile::Memory"], "{run}");
    assert_eq!(world.entities(), world.expected(), "{run}");
}
