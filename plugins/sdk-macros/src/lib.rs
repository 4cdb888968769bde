//! The macro [`plugin!`], which generates the code of a mapping plugin from its manifest.

mod documents;
mod entities;
mod resource;
mod shape;
mod source;

use std::{env, fmt::Write as _, fs, path::Path};

use proc_macro::TokenStream;

use self::{entities::Entities, resource::Members, shape::Manifest};

/// Makes a crate a plugin of the kinds of its `manifest.json`: `document` says what a resource document is made of,
/// and the default mapping what an entity is made of.
#[proc_macro]
pub fn plugin(input: TokenStream) -> TokenStream {
    let code = if input.is_empty() {
        let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        generate(&Path::new(&folder).join("manifest.json"))
    } else {
        Err("`plugin!` takes nothing: it reads the `manifest.json` of the package".to_owned())
    };
    let code = code.unwrap_or_else(|reason| format!("::core::compile_error!({reason:?});"));
    code.parse().unwrap_or_default()
}

/// The code of a plugin.
fn generate(manifest: &Path) -> Result<String, String> {
    let text = fs::read_to_string(manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let Manifest { kinds } =
        serde_json::from_str(&text).map_err(|error| format!("manifest.json: {error}"))?;
    let (mut code, mut mappers) = (String::new(), String::new());
    for (index, kind) in kinds.iter().enumerate() {
        let reads = |reason| format!("manifest.json: {}: {reason}", kind.kind);
        let (mut members, name) = (Members::default(), format!("Mapper{index}"));
        let entities = Entities::generate(kind, &mut members).map_err(reads)?;
        let documents = documents::generate(kind).map_err(reads)?;
        // Writing to a String cannot fail.
        _ = write!(
            code,
            "/// Maps `{kind}`.
            pub struct {name};
            const _: () = {{
                use ::berth_plugin::generated::*;
                {structs}
                {statics}
                impl Mapper for {name} {{
                    const KIND: &'static str = {kind:?};
                    type Resource<'a> = {resource};
                    fn entities(context: &Context, resource: Self::Resource<'_>, out: &mut Entities) \
             -> Result<(), Refused> {{
                        {body}
                        Ok(())
                    }}
                    fn documents(context: &Context, resource: RawResource<'_>, out: &mut Documents) \
             -> Result<(), Refused> {{
                        {documents}
                        Ok(())
                    }}
                }}
            }};",
            kind = kind.kind,
            structs = members.structs(),
            statics = entities.statics,
            resource = members.resource(),
            body = entities.body,
        );
        _ = write!(mappers, "{name},");
    }
    _ = write!(
        code,
        "::berth_plugin::export!([{mappers}], manifest = \
         ::core::include_bytes!(::core::concat!(::core::env!(\"CARGO_MANIFEST_DIR\"), \"/manifest.json\")));"
    );
    Ok(code)
}
