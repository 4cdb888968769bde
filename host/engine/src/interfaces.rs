//! What a component imports and exports: its role, and which version of the contract it fulfils.

use berth_core::{Problem, ProblemCode};
use wasmparser::{Parser, Payload};
use wasmtime::component::Component;

use crate::{
    contract::{self, ContractVersion, EVALUATOR, LOG, MAPPER, NEWEST},
    imports,
    isolation::Role,
};

/// The custom section in which the SDK repeats the manifest, so that it can be read without
/// compiling the plugin.
pub(crate) const MANIFEST_SECTION: &str = "berth:manifest";

/// What a component imports and which contract it fulfils.
pub(crate) struct Interfaces {
    pub(crate) role: Role,
    pub(crate) contract: ContractVersion,
    pub(crate) imports: Vec<String>,
}

impl Interfaces {
    /// # Errors
    /// The reason for which a component is no plugin, or none for this host.
    pub(crate) fn of_component(component: &Component, engine: &wasmtime::Engine) -> Result<Self, Problem> {
        let component = component.component_type();
        let imports = component.imports(engine).map(|(name, _)| name.to_owned()).collect();
        let exports: Vec<&str> = component.exports(engine).map(|(name, _)| name).collect();
        Self::of(imports, &exports)
    }

    /// # Errors
    /// The reason for which a component is no plugin, or none for this host.
    fn of(mut imports: Vec<String>, exports: &[&str]) -> Result<Self, Problem> {
        imports.sort_unstable();
        let role_of = |name| {
            let mapper = version_of(name, MAPPER).map(|version| (Role::Mapper, MAPPER, version));
            mapper
                .or_else(|| version_of(name, EVALUATOR).map(|version| (Role::Evaluator, EVALUATOR, version)))
        };
        // A component may export several versions of its contract; one that fits is enough.
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
                    format!("is no Berth plugin: it exports no `{MAPPER}`"),
                )
                .remedy("take the file out of the plugin directory"));
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

/// What a component tells of itself without being compiled.
pub(crate) struct Outline<'b> {
    pub(crate) interfaces: Interfaces,
    /// The custom sections with a manifest. The SDK makes one.
    pub(crate) manifests: Vec<&'b [u8]>,
}

impl<'b> Outline<'b> {
    /// Reads it from a component's bytes. `None` where they cannot be read: compiling them tells why.
    ///
    /// # Errors
    /// The reason for which the component is no plugin, or none for this host.
    pub(crate) fn of(bytes: &'b [u8]) -> Result<Option<Self>, Problem> {
        let (mut imports, mut exports, mut manifests) = (Vec::new(), Vec::new(), Vec::new());
        // Modules and components inside of the component have imports and exports of their own.
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

/// The version in `<interface>@<version>`; empty where the name has none.
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
