//! The protocol between this process and a mapping process: frames of a JSON header and a body of bytes,
//! each with a length prefix and a limit that the reader sets.
//!
//! The mapping process is not trusted. Everything that it sends is bounded here and checked where it is
//! used.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use berth_core::{Account, Kind, Region};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{ProcessLockdown, Role};
use crate::{Limits, Wasi, log_lines::PluginLogLevel, sandbox::Bounds};

/// A header contains names, shortened texts, and numbers.
const HEADER_BYTES: usize = 256 << 10;
/// The initial read size for a body of which only the length is known.
const FIRST_BYTES: usize = 1 << 20;

/// The purpose of a process. The body is the code.
#[derive(Serialize, Deserialize)]
pub(super) struct Start {
    /// The name of the engine setup for which the code was compiled.
    pub(super) setup: String,
    pub(super) role: Role,
    /// The digest of the component, from which its random numbers are derived.
    pub(super) sha256: String,
    pub(super) limits: Limits,
    pub(super) wasi: Wasi,
}

/// The response of a process to [`Start`].
#[derive(Serialize, Deserialize)]
pub(super) enum Started {
    /// It is isolated, and accepts requests.
    Ready(ProcessLockdown),
    /// The code was compiled for another engine.
    OtherEngine(String),
    /// The code does not fit the contract.
    Unfit(String),
    /// It cannot be isolated.
    Open(String),
}

/// A request to a process. The body is the resources, the mapping or the documents.
#[derive(Serialize, Deserialize)]
pub(super) enum ProcessRequest {
    Manifest {
        bounds: Bounds,
    },
    Map {
        bounds: Bounds,
        time: Option<Duration>,
        batch: BatchOf,
    },
    /// Compiles a user's own mapping, replacing the previous one.
    Compile {
        bounds: Bounds,
    },
    Evaluate {
        bounds: Bounds,
        now: u64,
    },
}

/// A batch without its resources.
#[derive(Serialize, Deserialize)]
pub(super) struct BatchOf {
    pub(super) kind: Kind,
    pub(super) account: Account,
    pub(super) region: Option<Region>,
    pub(super) options: Vec<String>,
    pub(super) documents: bool,
}

/// The response of a process to a request: log lines, then the result.
#[derive(Serialize, Deserialize)]
pub(super) enum ProcessReply {
    Line {
        level: PluginLogLevel,
        message: String,
    },
    /// A position in the plugin's code where the call ended.
    Frame(String),
    Done(CallEnd),
}

#[derive(Serialize, Deserialize)]
pub(super) struct CallEnd {
    pub(super) outcome: CallOutcome,
    /// The peak memory of the plugin, and its current memory.
    pub(super) peak_memory: usize,
    pub(super) memory: usize,
    /// The number of lines beyond the limit.
    pub(super) dropped: usize,
}

#[derive(Serialize, Deserialize)]
pub(super) enum CallOutcome {
    /// The body is the output.
    Returned,
    Refused(String),
    Failed(CallFailure),
}

/// How a call failed. The reader knows the limits.
#[derive(Serialize, Deserialize)]
pub(super) enum CallFailure {
    Deadline,
    Memory,
    Output,
    Recursion,
    Handles,
    Panicked(String),
    Denied(String),
    Exited(i32),
    Trapped(String),
}

pub(super) fn write(to: &mut impl Write, header: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_le_bytes).map_err(io::Error::other);
    let header = serde_json::to_vec(header)?;
    let mut head = Vec::with_capacity(8 + header.len());
    head.extend(length(&header)?);
    head.extend(length(body)?);
    head.extend(header);
    to.write_all(&head)?;
    to.write_all(body)?;
    to.flush()
}

/// Reads a frame with a body of at most `most` bytes.
pub(super) fn read<H: DeserializeOwned>(from: &mut impl Read, most: usize) -> io::Result<(H, Vec<u8>)> {
    let too_long = |what: &str, bytes: usize| {
        io::Error::new(io::ErrorKind::InvalidData, format!("a {what} of {bytes} bytes"))
    };
    let mut length = || -> io::Result<usize> {
        let mut bytes = [0; 4];
        from.read_exact(&mut bytes)?;
        usize::try_from(u32::from_le_bytes(bytes)).map_err(io::Error::other)
    };
    let (header, body) = (length()?, length()?);
    if header > HEADER_BYTES {
        return Err(too_long("header", header));
    }
    if body > most {
        return Err(too_long("body", body));
    }
    let header = exactly(from, header)?;
    let header =
        serde_json::from_slice(&header).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((header, exactly(from, body)?))
}

/// Reads this many bytes. Allocates memory as they arrive, not as announced.
fn exactly(from: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut read = Vec::with_capacity(bytes.min(FIRST_BYTES));
    from.take(bytes as u64).read_to_end(&mut read)?;
    if read.len() < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let mut bytes = Vec::new();
        write(&mut bytes, &ProcessReply::Frame("f".into()), b"body").unwrap();
        let (header, body) = read::<ProcessReply>(&mut &bytes[..], 4).unwrap();
        assert!(matches!(header, ProcessReply::Frame(text) if text == "f"));
        assert_eq!(body, b"body");
        let error = |most, bytes: &[u8]| read::<ProcessReply>(&mut &*bytes, most).err().unwrap().to_string();
        assert_eq!(error(3, &bytes), "a body of 4 bytes");
        assert_eq!(error(4, &[0, 0, 255, 0, 0, 0, 0, 0]), "a header of 16711680 bytes");
        for cut in 0..bytes.len() {
            assert!(read::<ProcessReply>(&mut &bytes[..cut], 4).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read::<ProcessReply>(&mut &bytes[..], 1 << 20);
            let _ = read::<Started>(&mut &bytes[..], 0);
        }
    }
}
