//! `berth plugin new`: creates a plugin that builds and passes its test, from AWS's model of a list
//! operation.

mod c;
mod item;
mod javascript;
mod python;
mod rust;
mod sdk;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use berth_aws::{Listing, check_read};
use berth_embed::{Problem, ProblemCode, core::Kind};
use serde_json::{Map, Value, json};

use self::item::{Field, ListItem, Members, SAMPLE_TIME, times};
use crate::args::{Language, NewPlugin};

/// The most properties that a first mapping has: enough to show how it is done.
const PROPERTIES: usize = 12;

/// Includes a template, which is also an example to read.
macro_rules! template {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/plugin-template/", $path))
    };
}
use template;

/// Paths and texts.
type Files = Vec<(String, String)>;

/// A plugin that was created.
pub(super) struct Begun {
    pub(super) folder: PathBuf,
    pub(super) files: Vec<String>,
    /// What the author must do before the plugin can read anything.
    pub(super) notes: Vec<String>,
}

/// Writes a plugin into a new folder.
///
/// # Errors
/// A [`Problem`] that names the argument.
pub(super) fn write(args: &NewPlugin) -> Result<Begun, Problem> {
    let kind = Kind::new(&args.kind).map_err(|error| {
        Problem::new(ProblemCode::CommandArgument, format!("--kind: {error}"))
            .remedy("use a namespace of your own, as in `Acme::Widget`")
    })?;
    let (service, operation) = args.from.split_once(':').ok_or_else(|| {
        Problem::new(
            ProblemCode::CommandArgument,
            format!("--from: `{}` is not `<service>:<operation>`", args.from),
        )
        .remedy("write it as in `--from ec2:DescribeVolumes`")
    })?;
    let listing = Listing::of(service, operation, args.items.as_deref())?;
    let name = args.name.clone().unwrap_or_else(|| kebab(&kind.as_str().replace("::", "-")));
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        return Err(Problem::new(
            ProblemCode::CommandArgument,
            format!("`{name}` is not a valid plugin name"),
        )
        .remedy("use lower-case letters, digits and dashes, as in `acme-widget`"));
    }
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(&name));
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Problem::new(
            ProblemCode::CommandArgument,
            format!("{} exists and is not empty", folder.display()),
        )
        .remedy("name another folder with --dir"));
    }
    let mut notes = Vec::new();
    if !listing.required.is_empty() {
        notes.push(format!(
            "{} needs `{}`: set it as `input` of the step in manifest.json, as a value or from an earlier \
            step (`each`, see wit/README.md)",
            args.from,
            listing.required.join("`, `")
        ));
    }
    if let Err(Problem { message, remedy, .. }) = check_read(service, operation, &BTreeSet::new()) {
        notes.push(format!("{message}: {}", remedy.unwrap_or_default()));
    }
    let scaffold = Scaffold { name, kind, listing };
    let files = scaffold.files(args, &folder)?;
    for (path, content) in &files {
        put(&folder.join(path), content).map_err(|error| {
            Problem::new(
                ProblemCode::FileUnwritable,
                format!("cannot write {}: {error}", folder.join(path).display()),
            )
            .remedy("name a writable folder with --dir")
        })?;
    }
    Ok(Begun { folder, files: files.into_iter().map(|(path, _)| path).collect(), notes })
}

fn put(path: &Path, content: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content)
}

struct Scaffold {
    name: String,
    kind: Kind,
    listing: Listing,
}

impl Scaffold {
    /// Returns the name of one item, as in `Volume` for `Volumes[]`.
    fn noun(&self) -> String {
        let last = self.listing.items.rsplit('.').next().unwrap_or_default().trim_end_matches("[]");
        let last = last.strip_suffix("List").unwrap_or(last);
        let singular = if let Some(stem) = last.strip_suffix("ies") {
            format!("{stem}y")
        } else if last.ends_with("sses") || last.ends_with("xes") {
            last[..last.len() - 2].to_owned()
        } else {
            last.strip_suffix('s').unwrap_or(last).to_owned()
        };
        kebab(&singular).split('-').map(capital).collect()
    }

    fn blueprint(&self) -> String {
        let words = kebab(&self.kind.as_str().replace("::", "-"));
        let mut words = words.split('-');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |name, word| name + &capital(word))
    }

    /// Returns the text member that names a resource best.
    fn naming<'a>(&self, members: &'a Map<String, Value>, endings: &[&str]) -> Option<&'a str> {
        let noun = self.noun().to_lowercase();
        let texts = || members.iter().filter(|(_, value)| value == &"sample").map(|(name, _)| name.as_str());
        endings
            .iter()
            .find_map(|ending| {
                texts().find(|name| {
                    name.eq_ignore_ascii_case(ending) || name.to_lowercase() == format!("{noun}{ending}")
                })
            })
            .or_else(|| {
                endings.iter().find_map(|ending| texts().find(|name| name.to_lowercase().ends_with(ending)))
            })
    }

    fn files(&self, args: &NewPlugin, folder: &Path) -> Result<Files, Problem> {
        let item = self.item()?;
        let mut files = match args.lang {
            Language::Rust => rust::files(self, &item, args.sdk.as_deref(), folder, rust::Form::Generated)?,
            Language::RustWasi => rust::files(self, &item, args.sdk.as_deref(), folder, rust::Form::Code)?,
            Language::C | Language::Zig | Language::Js | Language::Python if args.sdk.is_some() => {
                return Err(Problem::new(ProblemCode::CommandArgument, "--sdk is for plugins in Rust")
                    .remedy("leave it out: Berth copies the SDK into the plugin's folder"));
            }
            Language::C => c::files(self, &item),
            Language::Zig => c::files_zig(self, &item),
            Language::Js => javascript::files(self, &item),
            Language::Python => python::files(self, &item),
        };
        let document = if args.lang == Language::Rust { item.document() } else { Value::Null };
        let (manifest, example) = match &item {
            ListItem::Text { member } => {
                let path = format!(".Properties.{member}");
                (
                    self.manifest(&document, &Map::new(), &path, &path, Map::new()),
                    self.example(&self.listing.item, member),
                )
            }
            ListItem::Object(members) => {
                let Members { identifier, title, properties, .. } = &**members;
                let schema = properties.iter().map(|field| (field.property(), field.schema())).collect();
                let mapped = properties.iter().map(|field| (field.property(), json!(field.path()))).collect();
                let manifest = self.manifest(&document, &schema, &identifier.path(), &title.path(), mapped);
                (manifest, self.example(&self.listing.item, ""))
            }
        };
        let text =
            |value: &Value| serde_json::to_string_pretty(value).map(|text| text + "\n").unwrap_or_default();
        files.push(("manifest.json".into(), text(&manifest)));
        files.push(("fixtures/example.json".into(), text(&self.answer(example))));
        Ok(files)
    }

    /// Fills in a template's placeholders, and those in `more`.
    fn filled(&self, template: &str, more: &[(&str, String)]) -> String {
        let own = [
            ("name", self.name.clone()),
            ("crate", self.name.replace('-', "_")),
            ("kind", self.kind.to_string()),
            ("mapper", mapper(self.kind.as_str())),
            ("blueprint", self.blueprint()),
            ("service", self.listing.service.clone()),
            ("operation", self.listing.operation.clone()),
            ("cli", format!("{} {}", self.listing.service, kebab(&self.listing.operation))),
        ];
        own.iter()
            .chain(more)
            .fold(template.to_owned(), |text, (slot, value)| text.replace(&format!("{{{{{slot}}}}}"), value))
    }

    /// Returns the parts of an item that a first mapping uses.
    fn item(&self) -> Result<ListItem, Problem> {
        let members = match &self.listing.item {
            Value::Object(members) => members,
            Value::String(_) => return Ok(ListItem::Text { member: self.noun() }),
            other => {
                return Err(Problem::new(
                    ProblemCode::CommandArgument,
                    format!("the items of `{}` are neither objects nor texts: {other}", self.listing.items),
                ));
            }
        };
        // The model gives EC2's items ARNs, which EC2's responses often leave out.
        let (first, second) = if self.listing.service == "ec2" { ("id", "arn") } else { ("arn", "id") };
        let endings = [first, second, "identifier", "name", "url"];
        let identifier = self.naming(members, &endings).ok_or_else(|| {
            Problem::new(
                ProblemCode::CommandArgument,
                format!("an item of `{}` has no text that can identify it", self.listing.items),
            )
            .remedy("choose another operation, or another list with --items")
        })?;
        let title = self.naming(members, &["name", "id"]).unwrap_or(identifier);
        let simple = |value: &Value| !value.is_array() && !value.is_object();
        let field = |(member, sample): (&String, &Value)| Field::new(member, sample);
        let tags = |member: &str, value: &Value| value.is_array() && member.eq_ignore_ascii_case("tags");
        let properties = members
            .iter()
            .filter(|(name, value)| simple(value) && name.as_str() != identifier)
            .take(PROPERTIES)
            .chain(members.iter().filter(|(name, value)| tags(name, value)))
            .map(field)
            .collect();
        let nested = members
            .iter()
            .filter(|(_, value)| !simple(value))
            .map(|(member, value)| (Field::new(member, value), times(value)))
            .filter(|(_, times)| !times.is_empty())
            .collect();
        let named = |name: &str| Field::new(name, members.get(name).unwrap_or(&Value::Null));
        Ok(ListItem::Object(Box::new(Members {
            identifier: named(identifier),
            title: named(title),
            properties,
            nested,
        })))
    }

    fn manifest(
        &self,
        document: &Value,
        schema: &Map<String, Value>,
        identifier: &str,
        title: &str,
        properties: Map<String, Value>,
    ) -> Value {
        let blueprint = self.blueprint();
        let title_of = self.kind.as_str().split("::").skip(1).collect::<Vec<_>>().join(" ");
        let mut step = json!({
            "id": kebab(self.listing.items.rsplit('.').next().unwrap_or_default().trim_end_matches("[]")),
            "service": self.listing.service,
            "operation": self.listing.operation,
            "items": self.listing.items,
        });
        step["id"] = json!(step["id"].as_str().unwrap_or_default().replace('-', "_"));
        if let Some(limit) = &self.listing.limit {
            // Every service accepts this page size; the author knows the largest.
            step["input"] = json!({ limit: 100 });
        }
        let mut mappings =
            json!({"identifier": identifier, "title": title, "blueprint": format!("{blueprint:?}")});
        if !properties.is_empty() {
            mappings["properties"] = Value::Object(properties);
        }
        mappings["relations"] = json!({"account": ".__ExtraContext.AccountId"});
        let mut manifest = json!({
            "name": self.name,
            "version": "0.1.0",
            "description": format!("{} by {}:{}", self.kind, self.listing.service, self.listing.operation),
            "kinds": [{
                "kind": self.kind,
                "scope": if self.listing.global { "global" } else { "regional" },
                "plan": {"steps": [step]},
                "document": document,
                "install": "none",
                "blueprints": [{
                    "identifier": blueprint,
                    "title": title_of,
                    "icon": "AWS",
                    "schema": {"properties": schema, "required": []},
                    "mirrorProperties": {},
                    "calculationProperties": {},
                    "aggregationProperties": {},
                    "relations": {"account": {"title": "account", "target": "awsAccount", "required": false, "many": false}},
                }],
                "mapping": {
                    "kind": self.kind,
                    "selector": {"query": "true"},
                    "port": {"entity": {"mappings": mappings}},
                },
            }],
        });
        if let Some(kind) = manifest["kinds"][0].as_object_mut() {
            kind.retain(|_, value| !value.is_null());
        }
        manifest
    }

    /// Replaces a sample of the model with a plausible value.
    fn example(&self, sample: &Value, name: &str) -> Value {
        match sample {
            Value::Object(members) if members.keys().any(|key| key == "Key") && members.len() == 2 => {
                json!({"Key": "team", "Value": "payments"})
            }
            Value::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), self.example(value, name))).collect()
            }
            Value::Array(elements) => elements.iter().map(|element| self.example(element, name)).collect(),
            Value::String(text) if text == SAMPLE_TIME => json!("2024-01-02T03:04:05+00:00"),
            Value::String(_) => json!(self.example_text(name)),
            other => other.clone(),
        }
    }

    fn example_text(&self, name: &str) -> String {
        let lower = name.to_lowercase();
        let noun = kebab(&self.noun());
        let ends = |ending: &str| lower.ends_with(ending);
        if ends("arn") {
            let account = if self.listing.service == "s3" { "" } else { "111122223333" };
            format!("arn:aws:{}:eu-west-1:{account}:{noun}/example", self.listing.service)
        } else if ends("accountid") || ends("ownerid") {
            "111122223333".into()
        } else if ends("id") {
            format!("{noun}-0123456789abcdef0")
        } else if ends("availabilityzone") {
            "eu-west-1a".into()
        } else if ends("region") {
            "eu-west-1".into()
        } else if ends("state") || ends("status") {
            "available".into()
        } else if ends("url") {
            format!("https://{}.eu-west-1.amazonaws.com/111122223333/example", self.listing.service)
        } else {
            "example".into()
        }
    }

    /// Returns an AWS response with one item.
    fn answer(&self, item: Value) -> Value {
        self.listing.items.rsplit('.').fold(item, |value, part| {
            let (name, value) = match part.strip_suffix("[]") {
                Some(name) => (name, json!([value])),
                None => (part, value),
            };
            json!({ name: value })
        })
    }
}

/// Returns the name of a kind's mapper in Rust, as the SDK's macro names it.
fn mapper(kind: &str) -> String {
    kebab(&kind.replace("::", "-")).split('-').map(capital).collect::<String>() + "Mapper"
}

fn capital(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(first) = word.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    word
}

/// Converts `DBInstanceIdentifier` to `db-instance-identifier`.
fn kebab(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let after = chars.get(at + 1);
        let begins = c.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase)
            });
        if begins && !out.ends_with('-') {
            out.push('-');
        }
        out.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    }
    out
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_examples_have_the_sdks_as_they_are() {
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/plugins");
        let read = |path: &str| fs::read_to_string(format!("{examples}/{path}")).unwrap();
        assert_eq!(read("js-ec2-volume/sdk/berth.js"), javascript::SDK);
        assert_eq!(read("python-ec2-volume/sdk/berth.py"), python::SDK);
        for plugin in ["c-ec2-volume", "js-ec2-volume", "python-ec2-volume", "zig-ec2-volume"] {
            assert_eq!(read(&format!("{plugin}/sdk/wit/plugin.wit")), sdk::WIT);
        }
        for plugin in ["c-ec2-volume", "zig-ec2-volume"] {
            for (path, text) in c::SDK {
                assert_eq!(read(&format!("{plugin}/{path}")), text);
            }
            assert_eq!(read(&format!("{plugin}/requirements.txt")), c::REQUIREMENTS);
        }
        assert_eq!(read(&format!("zig-ec2-volume/{}", c::SDK_ZIG.0)), c::SDK_ZIG.1);
        let named = |template: &str| {
            template.replace("{{name}}", "js-ec2-volume").replace("{{kind}}", "AWS::EC2::Volume")
        };
        assert_eq!(read("js-ec2-volume/package.json"), named(template!("js/package.json.tmpl")));
        assert_eq!(read("js-ec2-volume/package-lock.json"), named(template!("js/package-lock.json.tmpl")));
        assert_eq!(read("python-ec2-volume/requirements.txt"), template!("python/requirements.txt"));
    }

    /// The build of a plugin checks the shape of the bindings; this test also covers names and comments.
    #[test]
    fn the_bindings_of_c_are_those_of_the_contract() {
        let made_of = "530432accdc566009cc1b57f8a61f7c8dca9bd897fb14488071b886ea78abd1f";
        assert_eq!(
            format!("{:x}", Sha256::digest(sdk::WIT)),
            made_of,
            "wit/plugin.wit has changed: run `wit-bindgen c --no-object-file --out-dir \
             examples/plugin-template/c/sdk/bindings wit` (`cargo install wit-bindgen-cli`), copy `sdk/` into \
             the examples, and put the new digest here"
        );
    }

    /// The test of the SDK's macro has the same names.
    #[test]
    fn mappers_are_named_as_the_macro_names_them() {
        for (kind, name) in [
            ("AWS::EC2::Volume", "AwsEc2VolumeMapper"),
            ("AWS::RDS::DBInstance", "AwsRdsDbInstanceMapper"),
            ("AWS::ElasticLoadBalancingV2::TargetGroup", "AwsElasticLoadBalancingV2TargetGroupMapper"),
            ("acme::widget", "AcmeWidgetMapper"),
        ] {
            assert_eq!(mapper(kind), name);
        }
    }

    #[test]
    fn names_are_split_into_words() {
        for (name, words) in [
            ("VolumeId", "volume-id"),
            ("DBInstanceIdentifier", "db-instance-identifier"),
            ("clusterArn", "cluster-arn"),
            ("Acme-Widget", "acme-widget"),
            ("Ipv6CidrBlock", "ipv6-cidr-block"),
            ("ARN", "arn"),
        ] {
            assert_eq!(kebab(name), words);
        }
    }
}
