//! A gate before each broker of librdkafka's cluster. It corrects one response: if a client asks for the API
//! versions in an unknown version of the request, the protocol wants a response in the oldest version (KIP-511),
//! but the cluster responds in the requested one, so that only librdkafka's own client continues.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

const API_VERSIONS: u16 = 18;
const UNSUPPORTED_VERSION: u16 = 35;
/// The newest form of the request that the cluster understands.
const NEWEST: u16 = 2;

/// Stands before each broker, and gives the addresses to use instead of theirs.
pub(crate) fn gates(brokers: &str) -> String {
    let ports: Vec<(u16, TcpListener)> = brokers
        .split(',')
        .map(|broker| {
            let port = broker.rsplit_once(':').expect("an address").1.parse().expect("a port");
            (port, TcpListener::bind("127.0.0.1:0").expect("a free port"))
        })
        .collect();
    let port = |gate: &TcpListener| gate.local_addr().expect("it is bound").port();
    let instead: Arc<Vec<(u16, u16)>> =
        Arc::new(ports.iter().map(|(broker, gate)| (*broker, port(gate))).collect());
    let addresses: Vec<String> = instead.iter().map(|(_, gate)| format!("127.0.0.1:{gate}")).collect();
    for (broker, gate) in ports {
        let instead = Arc::clone(&instead);
        thread::spawn(move || {
            for client in gate.incoming().flatten() {
                let instead = Arc::clone(&instead);
                // Either end may go at any time.
                thread::spawn(move || _ = serve(client, broker, &instead));
            }
        });
    }
    addresses.join(",")
}

fn serve(mut client: TcpStream, broker: u16, instead: &Arc<Vec<(u16, u16)>>) -> io::Result<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", broker))?;
    let (mut answers, mut to, instead) = (upstream.try_clone()?, client.try_clone()?, Arc::clone(instead));
    thread::spawn(move || {
        while let Ok(mut frame) = read(&mut answers) {
            readdress(&mut frame, &instead);
            if write(&mut to, &frame).is_err() {
                break;
            }
        }
        _ = (to.shutdown(Shutdown::Both), answers.shutdown(Shutdown::Both));
    });
    let ended = loop {
        let frame = match read(&mut client) {
            Ok(frame) => frame,
            Err(error) => break Err(error),
        };
        let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let sent = if word(0) == API_VERSIONS && word(2) > NEWEST {
            let mut answer = frame[4..8].to_vec();
            for part in [UNSUPPORTED_VERSION, 0, 1, API_VERSIONS, 0, NEWEST] {
                answer.extend(part.to_be_bytes());
            }
            write(&mut client, &answer)
        } else {
            write(&mut upstream, &frame)
        };
        if sent.is_err() {
            break sent;
        }
    };
    _ = upstream.shutdown(Shutdown::Both);
    ended
}

/// Puts the ports of the gates in the place of those of the brokers.
fn readdress(frame: &mut [u8], instead: &[(u16, u16)]) {
    const HOST: &[u8] = b"127.0.0.1";
    let end = HOST.len() + 4;
    for at in 0..frame.len().saturating_sub(end - 1) {
        if !frame[at..].starts_with(HOST) {
            continue;
        }
        let port = &mut frame[at + HOST.len()..at + end];
        for (broker, gate) in instead {
            if port == u32::from(*broker).to_be_bytes() {
                port.copy_from_slice(&u32::from(*gate).to_be_bytes());
                break;
            }
        }
    }
}

fn read(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let mut frame = vec![0; u32::from_be_bytes(size) as usize];
    from.read_exact(&mut frame)?;
    Ok(frame)
}

fn write(to: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let size = u32::try_from(frame.len()).expect("a frame is short");
    to.write_all(&[&size.to_be_bytes(), frame].concat())
}
