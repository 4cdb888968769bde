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
///
/// Each kind gets a mapper that is named after it: `AWS::EC2::Volume` is mapped by `AwsEc2VolumeMapper`.
#[proc_macro]
pub fn plugin(input: TokenStream) -> TokenStream {
    let code = if input.is_empty() {
        let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        let path = Path::new(&folder).join("manifest.json");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()));
        text.and_then(|text| generate(&text))
    } else {
        Err("`plugin!` takes nothing: it reads the `manifest.json` of the package".to_owned())
    };
    let code = code.unwrap_or_else(|reason| format!("::core::compile_error!({reason:?});"));
    code.parse().unwrap_or_default()
}

/// The code of a plugin with this manifest.
fn generate(manifest: &str) -> Result<String, String> {
    let Manifest { kinds } =
        serde_json::from_str(manifest).map_err(|error| format!("manifest.json: {error}"))?;
    let (mut code, mut mappers) = (String::new(), String::new());
    for kind in &kinds {
        let reads = |reason| format!("manifest.json: {}: {reason}", kind.kind);
        let (mut members, name) = (Members::default(), mapper_name(&kind.kind));
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

/// The name of the mapper of a kind, as `berth plugin new` names it: `AwsEc2VolumeMapper` for `AWS::EC2::Volume`.
fn mapper_name(kind: &str) -> String {
    let mut name = String::new();
    for part in kind.split("::") {
        let mut before = None;
        let mut letters = part.chars().peekable();
        while let Some(letter) = letters.next() {
            let is_followed_by_word = letters.peek().is_some_and(char::is_ascii_lowercase);
            let begins = before.is_none_or(|before: char| {
                letter.is_ascii_uppercase() && (!before.is_ascii_uppercase() || is_followed_by_word)
            });
            name.push(if begins { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() });
            before = Some(letter);
        }
    }
    name + "Mapper"
}

#[cfg(test)]
mod tests;
