//! The setting that is probably meant by a name that is none.

use strsim::damerau_levenshtein;

use super::{
    names,
    tree::{BERTH, Origin, Tree, variable},
};

/// Settings of Ocean that Berth does not use, and groups of them, which end with a dot. Helm values and older
/// releases set them, so they cause no warning.
const OF_OCEAN: &[&str] = &[
    "actions_processor.",
    "caching_storage_mode",
    "disable_ip_outbound_blocker",
    "events_debug_logging",
    "integration.config.app_host",
    "integration.config.region",
    "integration.incremental_sync_enabled",
    "integration.incremental_sync_interval",
    "live_events.",
    "oauth_access_token_file_path",
    "port.blueprint_cache_ttl_seconds",
    "port.feature_flags_cache_ttl_seconds",
    "port.port_app_config_cache_ttl",
    "process_execution_mode",
    "process_in_queue_max_workers",
    "process_in_queue_timeout",
    "resources_path",
    "runtime",
    "streaming.",
    "yield_items_to_parse_batch_size",
];

/// Returns the unknown variable that probably means this setting.
pub(super) fn meant(tree: &Tree, setting: &str) -> Option<String> {
    let unknown = tree.iter().filter(|(path, given)| {
        !matches!(given.origin, Origin::File { .. })
            && given.value().is_some()
            && !names().settings.contains(*path)
            && !is_of_ocean(path)
    });
    unknown.map(|(path, _)| path).find(|path| near_setting(path) == Some(setting)).map(variable)
}

pub(super) fn is_of_ocean(path: &str) -> bool {
    OF_OCEAN
        .iter()
        .any(|known| path == known.trim_end_matches('.') || known.ends_with('.') && path.starts_with(known))
}

/// Returns the setting that is probably meant: one with this name in another table, or one whose name differs
/// by a few letters.
pub(super) fn near_setting(unknown: &str) -> Option<&'static str> {
    nearest(unknown, names().settings.iter().map(String::as_str))
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or_default()
}

pub(super) fn nearest<'n>(unknown: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let letters = |name: &str| name.replace('_', "");
    let own = leaf(unknown);
    let most = (own.trim_start_matches(BERTH).len() / 4).max(1);
    let near = known.filter_map(|name| {
        let distance = damerau_levenshtein(unknown, name);
        (distance <= most || letters(leaf(name)) == letters(own)).then_some((distance, name))
    });
    near.min().map(|(_, name)| name)
}
