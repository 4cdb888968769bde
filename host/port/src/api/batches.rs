//! Splits bodies to fit Port's limits of count and bytes.

use std::ops::Range;

/// The most bytes in the body of a request that is not an upsert (whose limit is a setting); Port accepts 1
/// MiB.
pub(crate) const BODY_LIMIT: usize = 1_000_000;

/// The start of a bulk's body.
const OPEN: &[u8] = br#"{"entities":["#;
const CLOSE: &[u8] = b"]}";

/// Splits a list into runs of at most `max_count` whose body has at most `max_bytes`. An item that is too
/// large alone is a run of one.
pub(crate) fn batches(lengths: &[usize], max_count: usize, max_bytes: usize) -> Vec<Range<usize>> {
    let envelope = OPEN.len() + CLOSE.len();
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, envelope);
    for (index, length) in lengths.iter().enumerate() {
        // One more for the comma.
        let full = index - start == max_count || bytes + length + 1 > max_bytes;
        if full && index > start {
            batches.push(start..index);
            (start, bytes) = (index, envelope);
        }
        bytes += length + 1;
    }
    if start < lengths.len() {
        batches.push(start..lengths.len());
    }
    batches
}

/// Returns the body of a bulk of entities.
pub(crate) fn envelope(bodies: &[Vec<u8>]) -> Vec<u8> {
    let length: usize = bodies.iter().map(|body| body.len() + 1).sum();
    let mut whole = Vec::with_capacity(OPEN.len() + length + CLOSE.len());
    whole.extend_from_slice(OPEN);
    for (index, body) in bodies.iter().enumerate() {
        if index > 0 {
            whole.push(b',');
        }
        whole.extend_from_slice(body);
    }
    whole.extend_from_slice(CLOSE);
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn batches_cover_everything_within_the_limits(
            lengths in prop::collection::vec(1_usize..400, 0..80),
            max_count in 1_usize..25,
            max_bytes in 50_usize..1000,
        ) {
            let bodies: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'x'; *length]).collect();
            let runs = batches(&lengths, max_count, max_bytes);
            let covered: Vec<usize> = runs.iter().cloned().flatten().collect();
            prop_assert_eq!(covered, (0..lengths.len()).collect::<Vec<_>>());
            for run in &runs {
                prop_assert!(run.len() <= max_count);
                prop_assert!(run.len() == 1 || envelope(&bodies[run.clone()]).len() <= max_bytes);
            }
            // No two neighbors would fit into one request with room to spare.
            for pair in runs.windows(2) {
                let both = pair[0].start..pair[1].start + 1;
                let fits = both.len() <= max_count && envelope(&bodies[both]).len() < max_bytes;
                prop_assert!(!fits);
            }
        }
    }
}
