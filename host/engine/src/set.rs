//! The plugins of an engine at one moment: which plugin maps which kind, and what changed.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, sync::Arc};

use berth_core::{Kind, KindEntry, KindReads, Problem, ProblemCode, RefusedPlugin};

use crate::{
    Asks, Candidate,
    cache::Lease,
    info::{LoadedComponent, Reloaded, UseMeter},
    jq::Jq,
    plugin::Plugin,
};

/// All plugins of an engine, as they were found.
#[derive(Default)]
pub(crate) struct PluginSet {
    pub(crate) plugins: Vec<Arc<Plugin>>,
    pub(crate) kinds: BTreeMap<Kind, KindEntry>,
    /// The plugin of each kind.
    pub(crate) serving: BTreeMap<Kind, Arc<Plugin>>,
    pub(crate) refused: Vec<RefusedPlugin>,
    /// The component that evaluates users' own mappings.
    pub(crate) jq: Option<Arc<Jq>>,
    /// For each kind, the position of the directory of its plugin.
    directory_of: BTreeMap<Kind, usize>,
    /// Messages about which plugin maps which kind.
    notes: Vec<String>,
}

/// An accepted component.
#[derive(Clone)]
pub(crate) enum Loaded {
    Plugin(Arc<Plugin>),
    Jq(Arc<Jq>),
}

/// The result of loading a file.
pub(crate) struct PluginFile<'f> {
    /// The position of its directory.
    pub(crate) order: usize,
    pub(crate) file: &'f Path,
    pub(crate) outcome: Result<Loaded, RefusedPlugin>,
    /// The component that was loaded from it before.
    pub(crate) former: Option<Loaded>,
}

impl Loaded {
    pub(crate) fn sha256(&self) -> &str {
        match self {
            Self::Plugin(plugin) => &plugin.sha256,
            Self::Jq(jq) => &jq.sha256,
        }
    }

    /// Records that it will not be used again, so that its compiled code need not be kept.
    pub(crate) fn replaced(&self) {
        let lease: Option<&Arc<Lease>> = match self {
            Self::Plugin(plugin) => plugin.lease.as_ref(),
            Self::Jq(jq) => jq.lease.as_ref(),
        };
        if let Some(lease) = lease {
            lease.replaced();
        }
    }

    /// Returns it in the form that a policy sees.
    pub(crate) fn candidate<'a>(&'a self, bytes: Option<&'a [u8]>) -> Candidate<'a> {
        let (file, asks) = match self {
            Self::Plugin(plugin) => (&plugin.file, Asks::Kinds(&plugin.manifest)),
            Self::Jq(jq) => (&jq.file, Asks::Evaluation),
        };
        Candidate { file, bytes, sha256: self.sha256(), asks }
    }

    /// Compiles or loads its code, so that it is available from now on.
    ///
    /// # Errors
    /// Why the code is not available.
    pub(crate) fn compile(&self) -> Result<(), Problem> {
        let failed = match self {
            Self::Plugin(plugin) => plugin.program.get().err(),
            Self::Jq(jq) => jq.evaluator.get().err(),
        };
        failed.map_or(Ok(()), |failure| Err(failure.problem()))
    }

    /// Returns the use counter of the plugin with this name, if this is that plugin.
    pub(crate) fn meter_of(&self, name: &str) -> Option<Arc<UseMeter>> {
        match self {
            Self::Plugin(plugin) if &*plugin.name == name => Some(Arc::clone(&plugin.used)),
            _ => None,
        }
    }

    fn describe(&self) -> LoadedComponent {
        let (name, version, file) = match self {
            Self::Plugin(plugin) => (&*plugin.name, Some(plugin.manifest.version.clone()), &plugin.file),
            Self::Jq(jq) => ("jq", None, &jq.file),
        };
        LoadedComponent {
            name: name.to_owned(),
            version,
            file: file.clone(),
            sha256: self.sha256().to_owned(),
        }
    }
}

impl PluginSet {
    /// Decides which plugin maps which kind: within a directory the first file wins, among directories the
    /// last one. The files must be in that order.
    pub(crate) fn choose<'f>(found: impl IntoIterator<Item = PluginFile<'f>>) -> Self {
        let mut set = Self::default();
        for PluginFile { order, outcome, former, .. } in found {
            let Err(mut refused) = outcome.and_then(|loaded| set.place(order, loaded)) else { continue };
            if let Some(former) = former {
                let LoadedComponent { name, version, .. } = former.describe();
                if set.place(order, former).is_ok() {
                    let kept = version.map_or(name.clone(), |version| format!("{name} {version}"));
                    // Writing to a `String` cannot fail.
                    _ = write!(refused.problem.message, "; `{kept}`, loaded from it before, stays in use");
                }
            }
            set.refused.push(refused);
        }
        set
    }

    /// Adds a component.
    ///
    /// # Errors
    /// [`RefusedPlugin`] if the same directory has another plugin for one of its kinds.
    fn place(&mut self, order: usize, loaded: Loaded) -> Result<(), RefusedPlugin> {
        let plugin = match loaded {
            Loaded::Plugin(plugin) => plugin,
            Loaded::Jq(jq) => {
                self.jq = Some(jq);
                return Ok(());
            }
        };
        let rival = plugin.manifest.kinds.iter().find_map(|kind| {
            let rival = self.serving.get(&kind.kind)?;
            (self.directory_of.get(&kind.kind) == Some(&order)).then_some((&kind.kind, rival))
        });
        if let Some((kind, rival)) = rival {
            return Err(RefusedPlugin {
                plugin: plugin.file.display().to_string(),
                problem: Problem::new(
                    ProblemCode::PluginDuplicate,
                    format!("maps {kind}, as {} in the same directory does", rival.file.display()),
                )
                .remedy("keep one of the two; a plugin in a later directory replaces one of an earlier"),
            });
        }
        for kind in &plugin.manifest.kinds {
            let entry = KindEntry { plugin: plugin.manifest.name.clone(), manifest: Arc::new(kind.clone()) };
            self.directory_of.insert(kind.kind.clone(), order);
            self.kinds.insert(kind.kind.clone(), entry);
            if let Some(replaced) = self.serving.insert(kind.kind.clone(), Arc::clone(&plugin)) {
                self.notes.push(format!(
                    "{} is mapped by {}, which replaces {}",
                    kind.kind,
                    plugin.file.display(),
                    replaced.file.display()
                ));
            }
        }
        self.plugins.push(plugin);
        Ok(())
    }

    /// Returns the plugin that maps a kind: its own, else a generic one.
    pub(crate) fn serving(&self, kind: &Kind) -> Option<Arc<Plugin>> {
        let generic = || {
            let stands = |entry: &&KindEntry| entry.manifest.standing_for(kind).is_some();
            self.serving.get(&self.kinds.values().find(stands)?.manifest.kind)
        };
        self.serving.get(kind).or_else(generic).map(Arc::clone)
    }

    /// Returns the problem that no plugin maps a kind, with the rejected plugins that might have.
    pub(crate) fn no_plugin(&self, kind: &Kind) -> Problem {
        let refused: Vec<&str> = self.refused.iter().map(|refused| refused.plugin.as_str()).collect();
        let remedy = if refused.is_empty() {
            "put one into a plugin directory; `berth plugin list` shows the loaded plugins".to_owned()
        } else {
            format!(
                "one of the rejected plugins may map it: {}; `berth plugin list` shows why they were rejected",
                refused.join(", ")
            )
        };
        Problem::new(ProblemCode::PluginMissing, format!("no plugin maps {kind}")).remedy(remedy)
    }

    /// Returns the component that was loaded from a file.
    pub(crate) fn of_file(&self, file: &Path) -> Option<Loaded> {
        self.loaded().find(|loaded| match loaded {
            Loaded::Plugin(plugin) => plugin.file == file,
            Loaded::Jq(jq) => jq.file == file,
        })
    }

    fn loaded(&self) -> impl Iterator<Item = Loaded> {
        let plugins = self.plugins.iter().map(|plugin| Loaded::Plugin(Arc::clone(plugin)));
        plugins.chain(self.jq.iter().map(|jq| Loaded::Jq(Arc::clone(jq))))
    }

    /// Logs which files are not used, and which plugins replace others.
    pub(crate) fn log_components(&self) {
        for refused in &self.refused {
            tracing::warn!("not using plugin {}: it {}", refused.plugin, refused.problem);
        }
        for note in &self.notes {
            tracing::info!("{note}");
        }
    }

    /// Returns the changes since `before`.
    pub(crate) fn since(&self, before: &Self) -> Reloaded {
        let describe = |set: &Self| set.loaded().map(|loaded| loaded.describe()).collect::<Vec<_>>();
        let (now, then) = (describe(self), describe(before));
        let gone = |other: &LoadedComponent| !now.iter().any(|one| one.file == other.file);
        Reloaded {
            removed: then.iter().filter(|component| gone(component)).cloned().collect(),
            loaded: now.iter().filter(|component| !then.contains(component)).cloned().collect(),
            refused: self.refused.iter().filter(|one| !before.refused.contains(one)).cloned().collect(),
        }
    }

    /// Marks the components of `before` that are not in this set as replaced.
    pub(crate) fn replaces(&self, before: &Self) {
        for former in before.loaded() {
            if !self.loaded().any(|loaded| loaded.sha256() == former.sha256()) {
                former.replaced();
            }
        }
    }

    /// Returns whether it equals `before` in all respects.
    pub(crate) fn is_as(&self, before: &Self) -> bool {
        self.since(before).is_empty() && self.refused == before.refused
    }
}
