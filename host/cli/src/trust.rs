//! Which third-party plugins Berth uses: those that the operator approved in `plugins.lock` and, if
//! signatures are required, that a trusted signer signed.

use std::{
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use berth_core::{GrantMismatch, Grants};
use berth_embed::{Problem, ProblemCode};
use berth_engine::{Asks, Candidate, EngineConfig, PluginPolicy, Trust as EngineTrust};
use minisign_verify::{PublicKey, Signature};

use crate::files;

/// The first lines of the lockfile.
const HEADER: &str = "# The third-party plugins that Berth may use: which file, for which kinds, with which \
    reads of AWS.\n# `berth plugin add` and `berth plugin remove` write this file; review it like code.\n\n";

/// A lockfile of a thousand plugins has a fifth of this.
const LOCK_BYTES: u64 = 1 << 20;
/// Signatures and keys have a few hundred bytes.
pub(crate) const SIGNATURE_BYTES: u64 = 64 << 10;

/// What third-party plugins need. Bundled plugins are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrustLevel {
    /// An entry in the lockfile.
    Pinned,
    /// An entry and a signature.
    Signed,
    /// Nothing: for development and tests.
    Any,
}

/// A key that may sign plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) file: PathBuf,
    pub(crate) key: PublicKey,
}

/// The rules for third-party plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginTrust {
    pub(crate) level: TrustLevel,
    /// The lockfile, which need not exist.
    pub(crate) lock: PathBuf,
    /// Whether it differs from the default.
    pub(crate) lock_given: bool,
    pub(crate) keys: Vec<Key>,
    /// The directory of the bundled plugins.
    pub(crate) bundled: Option<PathBuf>,
}

/// The result of checking a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signed {
    /// Valid, by the key in this file.
    By(PathBuf),
    /// Missing: this file does not exist.
    Missing(PathBuf),
    /// Present, with no key to check it.
    Unchecked,
    /// Not by any of the keys, or for another file.
    Bad(String),
}

impl PluginTrust {
    /// Returns whether a file is a bundled plugin.
    pub(crate) fn is_bundled(&self, file: &Path) -> bool {
        self.bundled.is_some() && file.parent() == self.bundled.as_deref()
    }

    /// Makes an engine follow these rules.
    ///
    /// # Errors
    /// A [`Problem`] if the lockfile cannot be parsed.
    pub(crate) fn applied_to(self, config: EngineConfig) -> Result<EngineConfig, Problem> {
        let trust = EngineTrust::by(Arc::new(LockfilePolicy::new(self)?));
        Ok(EngineConfig { trust, ..config })
    }

    /// Returns the command that approves a file.
    pub(crate) fn approving(&self, file: &Path) -> String {
        let file = file.display();
        if self.lock_given {
            format!("berth plugin add {file} --plugins-lock {}", self.lock.display())
        } else {
            format!("berth plugin add {file}")
        }
    }

    /// Reads what the lockfile grants; nothing without a lockfile.
    ///
    /// # Errors
    /// A [`Problem`] that names the wrong place.
    pub(crate) fn grants(&self) -> Result<Grants, Problem> {
        let at = self.lock.display();
        match files::read_text(&self.lock, LOCK_BYTES) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                Problem::new(ProblemCode::FileUnreadable, format!("cannot parse {at}: {error}")).remedy(
                    "repair it, or delete the entry and approve the plugin again (`berth plugin add`)",
                )
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Grants::default()),
            Err(error) => Err(Problem::new(
                ProblemCode::FileUnreadable,
                format!("cannot read {at}: {error}"),
            )
            .remedy(
                "name the file that `berth plugin add` writes with --plugins-lock (or BERTH_PLUGINS_LOCK)",
            )),
        }
    }

    /// Writes the lockfile atomically.
    ///
    /// # Errors
    /// A [`Problem`] that names the file.
    pub(crate) fn write(&self, grants: &Grants) -> Result<(), Problem> {
        let failed = |error: &dyn std::fmt::Display| {
            Problem::new(
                ProblemCode::FileUnwritable,
                format!("cannot write {}: {error}", self.lock.display()),
            )
            .remedy(
                "make its directory writable, or name another lockfile with --plugins-lock (or \
                BERTH_PLUGINS_LOCK)",
            )
        };
        let text = toml::to_string_pretty(grants).map_err(|error| failed(&error))?;
        let dir = self.lock.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written =
            tempfile::Builder::new().prefix(".plugins.lock").tempfile_in(dir).and_then(|mut file| {
                // Others may read it, as with a file that an editor writes.
                #[cfg(unix)]
                std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
                file.write_all(HEADER.as_bytes())?;
                file.write_all(text.as_bytes())?;
                file.as_file().sync_all()?;
                file.persist(&self.lock).map_err(|error| error.error).map(drop)
            });
        written.map_err(|error| failed(&error))
    }

    /// Checks the signature next to a file against these bytes.
    pub(crate) fn signature(&self, file: &Path, bytes: &[u8]) -> Signed {
        let beside = signature_file(file);
        let text = match files::read_text(&beside, SIGNATURE_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Signed::Missing(beside),
            Err(error) => return Signed::Bad(format!("cannot read {}: {error}", beside.display())),
        };
        let signature = match Signature::decode(&text) {
            Ok(signature) => signature,
            Err(error) => return Signed::Bad(format!("{} is not a signature: {error}", beside.display())),
        };
        if self.keys.is_empty() {
            return Signed::Unchecked;
        }
        match self.keys.iter().find(|key| key.key.verify(bytes, &signature, false).is_ok()) {
            Some(key) => Signed::By(key.file.clone()),
            None => Signed::Bad(format!(
                "{} is by none of the `plugin_keys`, or for another file",
                beside.display()
            )),
        }
    }
}

/// Returns the path of a file's signature.
pub(crate) fn signature_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Admits plugins by these rules. Reads the lockfile each time, so that a newly approved plugin needs no
/// restart.
#[derive(Debug)]
pub(crate) struct LockfilePolicy {
    trust: PluginTrust,
    /// The grants of the last valid lockfile.
    grants: Mutex<Grants>,
}

impl LockfilePolicy {
    /// # Errors
    /// A [`Problem`] if the lockfile cannot be parsed.
    pub(crate) fn new(trust: PluginTrust) -> Result<Self, Problem> {
        let grants = if trust.level == TrustLevel::Any { Grants::default() } else { trust.grants()? };
        let grants = Mutex::new(grants);
        Ok(Self { trust, grants })
    }

    fn grants(&self) -> Grants {
        let mut known = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        match self.trust.grants() {
            Ok(grants) => known.clone_from(&grants),
            Err(problem) => tracing::error!(%problem, "the former grants stay in effect"),
        }
        known.clone()
    }
}

impl PluginPolicy for LockfilePolicy {
    fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Problem> {
        let trust = &self.trust;
        if trust.level == TrustLevel::Any || trust.is_bundled(candidate.file) {
            return Ok(());
        }
        if let (TrustLevel::Signed, Some(bytes)) = (trust.level, candidate.bytes) {
            let refused = match trust.signature(candidate.file, bytes) {
                Signed::By(_) => None,
                Signed::Missing(beside) => Some(format!("is not signed: there is no {}", beside.display())),
                Signed::Unchecked => {
                    Some("is signed, but `plugin_keys` names no key to check it with".into())
                }
                Signed::Bad(reason) => Some(format!("has no valid signature: {reason}")),
            };
            if let Some(message) = refused {
                return Err(Problem::new(ProblemCode::PluginNotTrusted, message).remedy(
                    "get the plugin and its signature from its signer; `plugin_keys` names the trusted keys",
                ));
            }
        }
        let grants = self.grants();
        let judged = match (candidate.ask(), candidate.asks) {
            (Some(ask), _) => grants.judge(&ask),
            (None, Asks::Unread) if grants.knows(candidate.sha256) => Ok(()),
            (None, _) => Err(GrantMismatch::UnknownFile),
        };
        judged.map_err(|mismatch| {
            Problem::new(ProblemCode::PluginNotTrusted, format!("{mismatch} (in {})", trust.lock.display()))
                .remedy(format!(
                    "review what it asks for, and approve it: {}",
                    trust.approving(candidate.file)
                ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use berth_core::{Ask, Manifest};
    use minisign::KeyPair;
    use serde_json::json;

    use super::*;

    const SHA256: &str = "ab";

    fn trust(dir: &Path, level: TrustLevel) -> PluginTrust {
        PluginTrust {
            level,
            lock: dir.join("plugins.lock"),
            lock_given: true,
            keys: Vec::new(),
            bundled: Some(dir.join("bundled")),
        }
    }

    fn manifest(operation: &str) -> Manifest {
        let manifest = json!({"name": "widget", "version": "1.0.0", "kinds": [{
            "kind": "Acme::Widget", "scope": "regional", "plan": {"steps": [
                {"id": "x", "service": "ec2", "operation": operation, "items": "x[]"}]}}]});
        Manifest::parse(manifest.to_string().as_bytes()).unwrap()
    }

    fn admitted(policy: &LockfilePolicy, file: &Path, asks: Asks<'_>) -> Result<(), String> {
        let candidate = Candidate { file, bytes: Some(b"bytes"), sha256: SHA256, asks };
        policy.admit(&candidate).map_err(|problem| {
            assert!(problem.remedy.is_some(), "{problem}");
            problem.message
        })
    }

    #[test]
    fn the_lock_decides_about_plugins_of_others_and_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let trust = trust(dir.path(), TrustLevel::Pinned);
        let policy = LockfilePolicy::new(trust.clone()).unwrap();
        let (file, bundled) = (dir.path().join("widget.wasm"), dir.path().join("bundled/widget.wasm"));
        let (volumes, instances) = (manifest("DescribeVolumes"), manifest("DescribeInstances"));
        let kinds = Asks::Kinds(&volumes);
        for asks in [Asks::Unread, Asks::Evaluation, kinds] {
            assert_eq!(admitted(&policy, &bundled, asks), Ok(()));
            let message = admitted(&policy, &file, asks).unwrap_err();
            assert!(message.starts_with("is not approved"), "{message}");
        }

        let mut grants = Grants::default();
        grants.plugins.insert("widget".into(), Ask::of(&volumes, SHA256).into());
        trust.write(&grants).unwrap();
        assert_eq!(trust.grants(), Ok(grants.clone()));
        assert_eq!(admitted(&policy, &file, Asks::Unread), Ok(()), "its manifest may be asked for");
        assert_eq!(admitted(&policy, &file, kinds), Ok(()));
        let wider = admitted(&policy, &file, Asks::Kinds(&instances)).unwrap_err();
        assert!(
            wider.starts_with("requests more than is approved: operations ec2:DescribeInstances"),
            "{wider}"
        );

        fs::write(&trust.lock, "#".repeat(usize::try_from(LOCK_BYTES).unwrap() + 1)).unwrap();
        let problem = trust.grants().unwrap_err();
        assert!(problem.message.contains("more than 1048576 bytes") && problem.remedy.is_some(), "{problem}");

        fs::write(&trust.lock, "[plugins.widget]\nsha = 3").unwrap();
        assert_eq!(admitted(&policy, &file, kinds), Ok(()), "an invalid lockfile changes nothing");
        let problem = LockfilePolicy::new(trust.clone()).unwrap_err();
        assert!(problem.message.contains("plugins.lock") && problem.message.contains("sha"), "{problem}");
        fs::remove_file(&trust.lock).unwrap();
        assert!(admitted(&policy, &file, kinds).is_err(), "a revoked approval no longer counts");
        let any = LockfilePolicy::new(PluginTrust { level: TrustLevel::Any, ..trust }).unwrap();
        assert_eq!(admitted(&any, &file, kinds), Ok(()));
    }

    #[test]
    fn a_signature_by_one_of_the_keys_is_demanded_besides() {
        let dir = tempfile::tempdir().unwrap();
        let pairs = [(); 2].map(|()| KeyPair::generate_unencrypted_keypair().unwrap());
        let file = dir.path().join("widget.wasm");
        let sign = |pair: &KeyPair, bytes: &[u8]| {
            let signature = minisign::sign(Some(&pair.pk), &pair.sk, bytes, None, None).unwrap();
            fs::write(signature_file(&file), signature.to_string()).unwrap();
        };
        let key = |pair: &KeyPair| Key {
            file: "vendor.pub".into(),
            key: PublicKey::from_base64(&pair.pk.to_base64()).unwrap(),
        };
        let trust = PluginTrust { keys: vec![key(&pairs[0])], ..trust(dir.path(), TrustLevel::Signed) };
        let volumes = manifest("DescribeVolumes");
        let mut grants = Grants::default();
        grants.plugins.insert("widget".into(), Ask::of(&volumes, SHA256).into());
        trust.write(&grants).unwrap();
        let policy = LockfilePolicy::new(trust.clone()).unwrap();
        let admission = || admitted(&policy, &file, Asks::Kinds(&volumes));

        assert!(admission().unwrap_err().starts_with("is not signed: there is no "));
        sign(&pairs[0], b"bytes");
        assert_eq!(admission(), Ok(()));
        assert_eq!(trust.signature(&file, b"bytes"), Signed::By("vendor.pub".into()));
        sign(&pairs[0], b"other bytes");
        assert!(admission().unwrap_err().starts_with("has no valid signature: "));
        sign(&pairs[1], b"bytes");
        assert!(admission().unwrap_err().contains("by none of the `plugin_keys`"));
        fs::write(signature_file(&file), "nonsense").unwrap();
        assert!(admission().unwrap_err().contains("is not a signature"));

        // A signature alone grants nothing.
        sign(&pairs[0], b"bytes");
        fs::remove_file(&trust.lock).unwrap();
        assert!(admission().unwrap_err().starts_with("is not approved"));
        assert_eq!(PluginTrust { keys: Vec::new(), ..trust }.signature(&file, b"bytes"), Signed::Unchecked);
    }
}
