//! The imports and exports of a component: its role, and the version of the contract that it implements.

use berth_core::{Problem, ProblemCode};
use wasmparser::{Parser, Payload};
use wasmtime::component::Component;

use crate::{
    contract::{self, ContractVersion, EVALUATOR, MAPPER, NEWEST},
    imports,
    imports::LOG,
    isolation::Role,
};

/// The custom section in which the SDK stores a copy of the manifest, so that it can be read without
/// compiling the plugin.
pub(crate) const MANIFEST_SECTION: &str = "berth:manifest";

/// The imports of a component, and the contract that it implements.
pub(crate) struct Interfaces {
    pub(crate) role: Role,
    pub(crate) contract: ContractVersion,
    pub(crate) imports: Vec<String>,
}

impl Interfaces {
    /// # Errors
    /// Why a component is not a plugin, or not one for this host.
    pub(crate) fn of_component(component: &Component, engine: &wasmtime::Engine) -> Result<Self, Problem> {
        let component = component.component_type();
        let imports = component.imports(engine).map(|(name, _)| name.to_owned()).collect();
        let exports: Vec<&str> = component.exports(engine).map(|(name, _)| name).collect();
        Self::of(imports, &exports)
    }

    /// # Errors
    /// Why a component is not a plugin, or not one for this host.
    fn of(mut imports: Vec<String>, exports: &[&str]) -> Result<Self, Problem> {
        imports.sort_unstable();
        let role_of = |name| {
            let mapper = version_of(name, MAPPER).map(|version| (Role::Mapper, MAPPER, version));
            mapper
                .or_else(|| version_of(name, EVALUATOR).map(|version| (Role::Evaluator, EVALUATOR, version)))
        };
        // A component may export several versions of its contract; one supported version is enough.
        let exported: Vec<_> = exports.iter().filter_map(|name| role_of(name)).collect();
        let fitting = exported
            .iter()
            .filter_map(|&(role, interface, version)| Some((role, supported(interface, version).ok()?)))
            .max_by_key(|&(_, version)| version);
        let (role, contract) = match (fitting, exported.first()) {
            (Some(fitting), _) => fitting,
            (None, Some(&(role, interface, version))) => (role, supported(interface, version)?),
            (None, None) => {
                return Err(Problem::new(
                    ProblemCode::PluginInvalid,
                    format!("is not a Berth plugin: it does not export `{MAPPER}`"),
                )
                .remedy("remove the file from the plugin directory"));
            }
        };
        for import in &imports {
            if let Some(version) = version_of(import, LOG) {
                supported(LOG, version)?;
            } else {
                imports::check(import)?;
            }
        }
        Ok(Self { role, contract, imports })
    }
}

/// The information in a component that is available without compiling it.
pub(crate) struct Outline<'b> {
    pub(crate) interfaces: Interfaces,
    /// The custom sections with a manifest. The SDK creates one.
    pub(crate) manifests: Vec<&'b [u8]>,
}

impl<'b> Outline<'b> {
    /// Reads a component's bytes. `None` if they cannot be parsed: compiling them reports why.
    ///
    /// # Errors
    /// Why the component is not a plugin, or not one for this host.
    pub(crate) fn of(bytes: &'b [u8]) -> Result<Option<Self>, Problem> {
        let (mut imports, mut exports, mut manifests) = (Vec::new(), Vec::new(), Vec::new());
        // Nested modules and components have their own imports and exports.
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            let Ok(payload) = payload else { return Ok(None) };
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                    manifests.push(section.data());
                }
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        let Ok(import) = import else { return Ok(None) };
                        imports.push(import.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        let Ok(export) = export else { return Ok(None) };
                        exports.push(export.name.name);
                    }
                }
                _ => {}
            }
        }
        Ok(Some(Self { interfaces: Interfaces::of(imports, &exports)?, manifests }))
    }
}

/// Returns the version in `<interface>@<version>`; empty if the name has none.
fn version_of<'n>(name: &'n str, interface: &str) -> Option<&'n str> {
    match name.strip_prefix(interface)? {
        "" => Some(""),
        rest => rest.strip_prefix('@'),
    }
}

fn supported(interface: &str, version: &str) -> Result<ContractVersion, Problem> {
    match version.parse::<ContractVersion>() {
        Ok(version) if version.is_supported() => Ok(version),
        Ok(newer) if newer > NEWEST => Err(Problem::new(
            ProblemCode::PluginIncompatible,
            format!(
                "needs version {} of the plugin contract (`{interface}`); {}",
                newer.minor(),
                contract::supported()
            ),
        )
        .remedy(format!(
            "update Berth to one that supports contract {}, or use an older version of the plugin; \
             `wit/README.md` lists which host supports which contract",
            newer.minor()
        ))),
        older => Err(Problem::new(
            ProblemCode::PluginIncompatible,
            format!(
                "was built for version {} of the plugin contract (`{interface}`); {}",
                older.map_or_else(
                    |()| if version.is_empty() { "(none)" } else { version }.to_owned(),
                    ContractVersion::minor
                ),
                contract::supported()
            ),
        )
        .remedy("update the plugin")),
    }
}
