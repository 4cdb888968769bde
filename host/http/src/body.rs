//! Reads the body of a response, up to a limit.

use bytes::{Bytes, BytesMut};
use reqwest::Response;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed.
    #[error(transparent)]
    Silent(reqwest::Error),
    /// The body exceeds the limit.
    #[error("the response is too large")]
    TooLarge,
}

impl From<reqwest::Error> for BodyError {
    fn from(error: reqwest::Error) -> Self {
        Self::Silent(error)
    }
}

/// Reads a body of at most `limit` bytes, counted after decompression: a small response may decompress to
/// more than the available memory. Reads nothing beyond the limit.
///
/// # Errors
/// [`BodyError`] if the connection fails or the limit is exceeded.
pub async fn read_body(mut response: Response, limit: usize) -> Result<Bytes, BodyError> {
    let announced =
        response.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > limit {
        return Err(BodyError::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > limit - body.len() {
            return Err(BodyError::TooLarge);
        }
        if body.is_empty() {
            body.reserve(announced.max(chunk.len()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// The response of a server that announces no length.
    async fn chunked(chunks: &'static [&'static str]) -> Response {
        let provider = rustls::crypto::ring::default_provider();
        _ = provider.install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            _ = stream.read(&mut [0; 4096]).await;
            let framed = |chunk: &&str| format!("{:x}\r\n{chunk}\r\n", chunk.len());
            let chunks: String = chunks.iter().chain([&""]).map(framed).collect();
            let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        reqwest::Client::new().get(format!("http://{address}")).send().await.unwrap()
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(read_body(chunked(&["ab", "cd"]).await, 4).await.unwrap(), "abcd");
        assert_eq!(read_body(chunked(&[]).await, 0).await.unwrap(), "");
        for limit in [0, 1, 3] {
            assert!(
                matches!(read_body(chunked(&["ab", "cd"]).await, limit).await, Err(BodyError::TooLarge)),
                "{limit}"
            );
        }
        let announced = || Response::from(http::Response::new("abcd"));
        assert!(matches!(read_body(announced(), 3).await, Err(BodyError::TooLarge)));
        assert_eq!(read_body(announced(), 4).await.unwrap(), "abcd");
    }
}
