//! Reads the body of a response, up to a limit.

use std::io::Read as _;

use berth_http::{BodyError, read_body};
use bytes::Bytes;
use reqwest::{Response, header::CONTENT_ENCODING};

/// Why a body was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// The connection failed.
    Silent(reqwest::Error),
    /// It is too large, or does not match its headers.
    Unusable(String),
}

/// Reads a body of at most `limit` bytes, both compressed and decompressed: a small response may decompress
/// to more than the memory. Reads nothing beyond the limit.
///
/// # Errors
/// [`Unread`].
pub(super) async fn read(response: Response, limit: usize) -> Result<Bytes, Unread> {
    let is_packed = response
        .headers()
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
    let body = read_body(response, limit).await.map_err(|error| match error {
        BodyError::Silent(error) => Unread::Silent(error),
        BodyError::TooLarge => too_large(limit),
    })?;
    if is_packed { unpacked(&body, limit) } else { Ok(body) }
}

fn too_large(limit: usize) -> Unread {
    Unread::Unusable(format!("its response has more than {limit} bytes (`max_response_bytes`)"))
}

/// Decompresses gzip.
fn unpacked(packed: &[u8], limit: usize) -> Result<Bytes, Unread> {
    let mut body = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(packed)
        .take(most)
        .read_to_end(&mut body)
        .map_err(|error| Unread::Unusable(format!("cannot decompress its response: {error}")))?;
    if body.len() > limit { Err(too_large(limit)) } else { Ok(body.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn answer(body: Vec<u8>, is_packed: bool) -> Response {
        let mut builder = http::Response::builder();
        if is_packed {
            builder = builder.header(CONTENT_ENCODING, "gzip");
        }
        builder.body(body).unwrap().into()
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(read(answer(b"abcd".to_vec(), false), 4).await.unwrap(), "abcd");
        assert_eq!(read(answer(packed(b"abcd"), true), 100).await.unwrap(), "abcd");
        let bomb = packed(&vec![0; 10 << 20]);
        assert!(bomb.len() < 100_000);
        for (answer, limit) in [
            (answer(b"abcd".to_vec(), false), 3),
            (answer(bomb, true), 1 << 20),
            (answer(packed(b"abcd"), true), 3),
            (answer(b"abcd".to_vec(), true), 100),
        ] {
            assert!(matches!(read(answer, limit).await, Err(Unread::Unusable(_))), "{limit}");
        }
    }
}
