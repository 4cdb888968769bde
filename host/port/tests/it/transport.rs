//! Faulty components between Port and this program.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use berth_http::{HttpParts, NoProxy, Proxies, ProxyUrl};
use berth_port::{PortCatalog, PortConfig, RetryPolicy, service::PortService};
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Returns the same response to everyone, in plain text; returns the port, and the number of requests.
async fn say(text: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            _ = stream.read(&mut [0; 1024]).await;
            _ = stream.write_all(text).await;
        }
    });
    (port, seen)
}

fn catalog(base_url: &str, retry: RetryPolicy, proxies: Proxies) -> PortCatalog {
    let mut config = PortConfig::new("id", SecretString::from("hush"), "my-berth");
    config.base_url = base_url.parse().unwrap();
    config.retry = retry;
    let http = HttpParts { proxies, ..HttpParts::default() }.client().unwrap();
    berth_port::open(config, http).unwrap()
}

#[tokio::test]
async fn a_failure_that_lasts_is_reported_at_once_and_one_that_may_pass_is_repeated() {
    let login = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
    let (proxy, asked) = say(login).await;
    let proxies = Proxies {
        https: ProxyUrl::parse(&format!("http://berth:hush-proxy@127.0.0.1:{proxy}")).ok(),
        ..Proxies::default()
    };
    // With the default retries this would take minutes.
    let port = catalog("https://port.invalid", RetryPolicy::default(), proxies);
    let begun = Instant::now();
    let problem = PortService::of(&port).feature_flags().await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let described = problem.to_string();
    assert!(
        described.contains("407") && described.contains("HTTPS_PROXY") && !described.contains("hush"),
        "{described}"
    );

    let (plain, asked) = say(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let port = catalog(&format!("https://127.0.0.1:{plain}"), RetryPolicy::default(), Proxies::default());
    let described = PortService::of(&port).feature_flags().await.unwrap_err().to_string();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(
        described.contains("does not use TLS") && described.contains("OCEAN__PORT__BASE_URL"),
        "{described}"
    );

    let (gateway, asked) = say(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    let proxies = Proxies {
        https: ProxyUrl::parse(&format!("http://127.0.0.1:{gateway}")).ok(),
        except: NoProxy::parse("other.invalid").0,
        ..Proxies::default()
    };
    let retry = RetryPolicy { retries: 2, base: Duration::from_millis(5), ..RetryPolicy::default() };
    let described = PortService::of(&catalog("https://port.invalid", retry, proxies))
        .feature_flags()
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(asked.load(Ordering::SeqCst), 3, "{described}");
    assert!(described.contains("the proxy cannot connect to the server"), "{described}");
}

#[tokio::test]
async fn no_redirect_takes_the_credentials_elsewhere() {
    let (elsewhere, asked) = say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:{elsewhere}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let (port, redirected) = say(answer.leak().as_bytes()).await;
        let port = catalog(&format!("http://127.0.0.1:{port}"), RetryPolicy::default(), Proxies::default());
        let problem = PortService::of(&port).feature_flags().await.unwrap_err();
        assert!(problem.message.contains(&status[..3]), "{problem}");
        assert_eq!((redirected.load(Ordering::SeqCst), asked.load(Ordering::SeqCst)), (1, 0), "{status}");
    }
}
