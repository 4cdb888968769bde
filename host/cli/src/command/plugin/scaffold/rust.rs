//! A plugin in Rust.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use berth_embed::{Problem, ProblemCode};

use super::{Field, Files, ListItem, Members, Scaffold, kebab, sdk, template};

/// What the plugin's code is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Generated from the manifest.
    Generated,
    /// A mapper in code, with WASI.
    Code,
}

/// The lines of Cargo.toml that make it a plugin with WASI.
const WASI: &str = "\n# For the whole standard library. What it asks of WASI is answered with nothing, or always the same.\n[package.metadata.berth]\ntarget = \"wasm32-wasip2\"\n";

/// The dependency of a mapper in code.
const SERDE: &str = "serde = { version = \"1\", features = [\"derive\"] }\n";

/// What README.md says of the files that an author changes.
const GENERATED_FILES: &str = "\
| `manifest.json` | the AWS reads, the blueprint, what a document is made of (`document`), and the default mapping in Port's own format |
| `src/lib.rs` | the line that generates the code from the manifest; for what the manifest cannot say, implement `Mapper` here |
";
const CODE_FILES: &str = "\
| `manifest.json` | the AWS reads, the blueprint, and the default mapping in Port's own format |
| `src/lib.rs` | the same mapping in Rust |
";

/// Returns the files of the plugin, with its SDK.
pub(super) fn files(
    plugin: &Scaffold,
    item: &ListItem,
    sdk: Option<&str>,
    folder: &Path,
    form: Form,
) -> Result<Files, Problem> {
    let sdk = Sdk::of(sdk, folder)?;
    let source = match (form, item) {
        (Form::Generated, _) => plugin.filled(template!("rust/src/lib.rs.tmpl"), &[]),
        (Form::Code, ListItem::Text { member }) => {
            plugin.filled(template!("rust-wasi/src/text.rs.tmpl"), &[("member", member.clone())])
        }
        (Form::Code, ListItem::Object(members)) => of_object(plugin, members),
    };
    let (wasi, dependencies, listed) = match form {
        Form::Generated => ("", "", GENERATED_FILES),
        Form::Code => (WASI, SERDE, CODE_FILES),
    };
    let slots = [
        ("sdk", sdk.dependency(false)),
        ("sdk_testing", sdk.dependency(true)),
        ("wasi", wasi.to_owned()),
        ("dependencies", dependencies.to_owned()),
    ];
    let readme = plugin.filled(template!("rust/README.md.tmpl"), &[("files", listed.to_owned())]);
    let mut files = vec![
        ("Cargo.toml".into(), plugin.filled(template!("rust/Cargo.toml.tmpl"), &slots)),
        ("README.md".into(), readme),
        (".gitignore".into(), "/target\n".into()),
        ("src/lib.rs".into(), source),
        ("tests/mapping.rs".into(), plugin.filled(template!("rust/tests/mapping.rs.tmpl"), &[])),
    ];
    files.extend(sdk.files()?);
    Ok(files)
}

fn of_object(plugin: &Scaffold, members: &Members) -> String {
    let (mut fields, mut entity, mut properties) = (String::new(), String::new(), String::new());
    for (position, field) in members.used().into_iter().enumerate() {
        let borrow = if position == 0 { ", borrow" } else { "" };
        let form = if field.is_time() { "Timestamp" } else { "Json" };
        // Writing to a String cannot fail.
        _ = writeln!(
            fields,
            "    #[serde(rename = \"{}\"{borrow})]\n    {}: {form}<'a>,",
            field.member,
            name(field)
        );
        let form = match field {
            _ if field.member == members.identifier.member => ".required()",
            _ if field.is_time() => ".time()",
            _ => "",
        };
        // Only properties that change the form or the name of a member.
        if !form.is_empty() || field.document() != field.member {
            _ = writeln!(properties, "    Property::new(\"{}\"){form},", field.document());
        }
    }
    for field in &members.properties {
        _ = writeln!(entity, "            .property(\"{}\", item.{})", field.property(), name(field));
    }
    for (field, times) in &members.nested {
        _ = writeln!(properties, "    Property::new(\"{}\").times(&{times:?}),", field.document());
    }
    let timestamp = if members.properties.iter().any(Field::is_time) { " Timestamp," } else { "" };
    let slots = [
        ("timestamp", timestamp.to_owned()),
        ("item", plugin.noun()),
        ("fields", fields),
        ("properties", properties),
        ("identifier", name(&members.identifier)),
        ("title", name(&members.title)),
        ("entity", entity),
    ];
    plugin.filled(template!("rust-wasi/src/lib.rs.tmpl"), &slots)
}

/// Returns the field of the struct.
fn name(field: &Field) -> String {
    let snake = kebab(&field.member).replace('-', "_");
    // The keywords that AWS uses as member names.
    if matches!(
        snake.as_str(),
        "type" | "ref" | "mod" | "match" | "use" | "where" | "static" | "enum" | "loop" | "box"
    ) {
        format!("r#{snake}")
    } else {
        snake
    }
}

/// The source of the plugin's SDK.
enum Sdk {
    /// A version from the registry.
    Version(String),
    /// A folder, absolute.
    Path(PathBuf),
    /// A copy in the plugin's folder: the plugin builds with only this binary and cargo.
    Copy,
}

impl Sdk {
    fn of(wanted: Option<&str>, folder: &Path) -> Result<Self, Problem> {
        let Some(wanted) = wanted else { return Ok(Self::Copy) };
        if wanted.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Self::Version(wanted.to_owned()));
        }
        let path = Path::new(wanted);
        if !path.join("Cargo.toml").is_file() {
            return Err(Problem::new(
                ProblemCode::CommandArgument,
                format!("--sdk: no crate in {}", path.display()),
            )
            .remedy("name the folder `plugins/sdk` of a checkout of Berth, or a version, or leave it out"));
        }
        // A path that does not depend on the plugin's folder.
        path.canonicalize().map(Self::Path).map_err(|error| {
            Problem::new(
                ProblemCode::CommandArgument,
                format!("--sdk: {}: {error} (for {})", path.display(), folder.display()),
            )
        })
    }

    fn dependency(&self, testing: bool) -> String {
        let source = match self {
            Self::Version(version) => format!("version = {version:?}"),
            Self::Path(path) => format!("path = {:?}", path.display().to_string()),
            Self::Copy => "path = \"sdk\"".to_owned(),
        };
        let features = if testing { ", features = [\"testing\"]" } else { "" };
        format!("{{ {source}{features} }}")
    }

    fn files(&self) -> Result<Files, Problem> {
        match self {
            Self::Copy => sdk::files(),
            Self::Version(_) | Self::Path(_) => Ok(Vec::new()),
        }
    }
}
