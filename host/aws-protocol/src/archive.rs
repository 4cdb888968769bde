//! The archive of all models: one zstd frame per service, and an index.
//!
//! Layout, integers little-endian: the magic `BWM1`, the number of services (`u32`), then for each service,
//! sorted by name: length of the name (`u8`), the name, and the length of its frame (`u32`); then the
//! frames, in the same order and without gaps.

use std::collections::BTreeMap;

const MAGIC: &[u8; 4] = b"BWM1";

/// The highest level that does not need extra memory to unpack: models are packed once and shipped in every
/// binary.
const LEVEL: i32 = 19;

/// The size limit of a model. All models are far smaller; a frame that claims more is damaged.
const MAX_UNPACKED: usize = 64 << 20;

/// Packs service models, given as JSON text by service name, into the bytes of `models.bin`. The same input
/// always has the same output.
///
/// # Errors
/// If the compressor fails, or a name or frame does not fit the format.
pub fn pack(models: &BTreeMap<String, Vec<u8>>) -> std::io::Result<Vec<u8>> {
    let too_large = || std::io::Error::other("a model does not fit the archive");
    let mut header = MAGIC.to_vec();
    header.extend(u32::try_from(models.len()).map_err(|_| too_large())?.to_le_bytes());
    let mut frames = Vec::new();
    for (name, json) in models {
        let frame = zstd::bulk::compress(json, LEVEL)?;
        header.push(u8::try_from(name.len()).map_err(|_| too_large())?);
        header.extend(name.as_bytes());
        header.extend(u32::try_from(frame.len()).map_err(|_| too_large())?.to_le_bytes());
        frames.extend(frame);
    }
    header.extend(frames);
    Ok(header)
}

/// Returns the frames by service name.
pub(crate) fn index(archive: &'static [u8]) -> Option<BTreeMap<&'static str, &'static [u8]>> {
    let mut rest = archive.strip_prefix(MAGIC)?;
    let count = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
    let mut lengths = Vec::new();
    for _ in 0..count {
        let name_len = usize::from(*take(&mut rest, 1)?.first()?);
        let name = std::str::from_utf8(take(&mut rest, name_len)?).ok()?;
        let frame_len = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        lengths.push((name, usize::try_from(frame_len).ok()?));
    }
    lengths.into_iter().map(|(name, length)| Some((name, take(&mut rest, length)?))).collect()
}

fn take(from: &mut &'static [u8], count: usize) -> Option<&'static [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

/// Returns the JSON text of a frame.
pub(crate) fn unpack(frame: &[u8]) -> std::io::Result<Vec<u8>> {
    let size = zstd::zstd_safe::get_frame_content_size(frame)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size <= MAX_UNPACKED)
        .ok_or_else(|| std::io::Error::other("the frame has no size"))?;
    zstd::bulk::decompress(frame, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_archive_survives_a_round_trip() {
        let models = BTreeMap::from([
            ("ec2".to_owned(), b"{\"a\":1}".to_vec()),
            ("empty".to_owned(), Vec::new()),
            ("s3".to_owned(), vec![b'x'; 100_000]),
        ]);
        let archive: &'static [u8] = pack(&models).unwrap().leak();
        let index = index(archive).unwrap();
        assert_eq!(index.keys().copied().collect::<Vec<_>>(), ["ec2", "empty", "s3"]);
        for (name, frame) in index {
            assert_eq!(unpack(frame).unwrap(), models[name], "{name}");
        }
    }

    #[test]
    fn a_damaged_archive_is_rejected() {
        let models = BTreeMap::from([("ec2".to_owned(), b"{}".to_vec())]);
        let archive = pack(&models).unwrap();
        for cut in 0..archive.len() {
            assert!(index(archive[..cut].to_vec().leak()).is_none(), "cut at {cut}");
        }
        assert!(index(b"PK..").is_none());
    }
}
