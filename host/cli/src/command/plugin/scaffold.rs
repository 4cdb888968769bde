//! `berth plugin new`: a plugin that builds, passes its test and can be edited, made of what AWS's
//! models tell about one list operation.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use berth_embed::{Listing, Problem, core::Kind};
use serde_json::{Map, Value, json};

use super::sdk;
use crate::args::NewPlugin;

/// The most properties that a first mapping has: enough to see how it is done.
const PROPERTIES: usize = 12;
/// How the models' samples write a time.
const SAMPLE_TIME: &str = "2024-01-02T03:04:05Z";

/// The templates, which are also there to read.
mod template {
    macro_rules! file {
        ($path:literal) => {
            include_str!(concat!("../../../../../examples/plugin-template/rust/", $path))
        };
    }
    pub(super) const CARGO: &str = file!("Cargo.toml.tmpl");
    pub(super) const OBJECT: &str = file!("src/lib.rs.tmpl");
    pub(super) const TEXT: &str = file!("src/text.rs.tmpl");
    pub(super) const TEST: &str = file!("tests/mapping.rs.tmpl");
    pub(super) const README: &str = file!("README.md.tmpl");
}

/// Writes a plugin into a folder that does not exist yet, and tells the folder and its files.
///
/// # Errors
/// A [`Problem`] that names the argument concerned.
pub(super) fn write(args: &NewPlugin) -> Result<(PathBuf, Vec<String>), Problem> {
    let kind = Kind::new(&args.kind).map_err(|error| {
        Problem::new(format!("--kind: {error}")).remedy("begin with a name of your own, as in `Acme::Widget`")
    })?;
    let (service, operation) = args.from.split_once(':').ok_or_else(|| {
        Problem::new(format!("--from: `{}` is not `<service>:<operation>`", args.from))
            .remedy("write it as in `--from ec2:DescribeVolumes`")
    })?;
    let listing = Listing::of(service, operation, args.items.as_deref())?;
    let name = args.name.clone().unwrap_or_else(|| kebab(&kind.as_str().replace("::", "-")));
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        return Err(Problem::new(format!("`{name}` cannot name a plugin"))
            .remedy("use lower-case letters, digits and dashes, as in `acme-widget`"));
    }
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(&name));
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Problem::new(format!("{} is there already and not empty", folder.display()))
            .remedy("give another folder with --dir"));
    }
    let scaffold = Scaffold { name, kind, listing };
    let sdk = Sdk::of(args.sdk.as_deref(), &folder)?;
    let mut files = scaffold.files(&sdk)?;
    files.extend(sdk.files());
    for (path, content) in &files {
        put(&folder.join(path), content).map_err(|error| {
            Problem::new(format!("{} cannot be written: {error}", folder.join(path).display()))
        })?;
    }
    Ok((folder, files.into_iter().map(|(path, _)| path).collect()))
}

fn put(path: &Path, content: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content)
}

/// Where the plugin's SDK comes from.
enum Sdk {
    /// A version from the registry.
    Version(String),
    /// A folder, absolute.
    Path(PathBuf),
    /// A copy in the plugin's own folder: it builds with nothing but this binary and cargo.
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
            return Err(Problem::new(format!("--sdk: there is no crate in {}", path.display())).remedy(
                "give the folder `plugins/sdk` of a checkout of Berth, or a version, or leave it out",
            ));
        }
        // Relative to the plugin, wherever that is.
        path.canonicalize().map(Self::Path).map_err(|error| {
            Problem::new(format!("--sdk: {}: {error} (for {})", path.display(), folder.display()))
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

    fn files(&self) -> Vec<(String, String)> {
        match self {
            Self::Copy => sdk::files(),
            Self::Version(_) | Self::Path(_) => Vec::new(),
        }
    }
}

struct Scaffold {
    name: String,
    kind: Kind,
    listing: Listing,
}

/// A member of the item that the mapping uses.
struct Field<'a> {
    /// AWS's name.
    member: &'a str,
    sample: &'a Value,
}

impl Field<'_> {
    /// The field of the struct.
    fn rust(&self) -> String {
        let snake = kebab(self.member).replace('-', "_");
        // The keywords that AWS uses for members.
        if matches!(
            snake.as_str(),
            "type" | "ref" | "mod" | "match" | "use" | "where" | "static" | "enum" | "loop" | "box"
        ) {
            format!("r#{snake}")
        } else {
            snake
        }
    }

    /// The name in documents.
    fn document(&self) -> String {
        let mut name = self.member.to_owned();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        name
    }

    /// The property of the entity.
    fn property(&self) -> String {
        let words = kebab(self.member);
        let mut words = words.split('-');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |name, word| name + &capital(word))
    }

    fn is_time(&self) -> bool {
        self.sample == SAMPLE_TIME
    }

    fn schema(&self) -> Value {
        let title = kebab(self.member).split('-').map(capital).collect::<Vec<_>>().join(" ");
        let mut schema = match self.sample {
            Value::String(_) if self.is_time() => json!({"type": "string", "format": "date-time"}),
            Value::Number(_) => json!({"type": "number"}),
            Value::Bool(_) => json!({"type": "boolean"}),
            Value::Array(_) => json!({"type": "array"}),
            Value::Object(_) => json!({"type": "object"}),
            _ => json!({"type": "string"}),
        };
        schema["title"] = json!(title);
        schema
    }
}

impl Scaffold {
    /// What one item is called, as in `Volume` for `Volumes[]`.
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

    fn mapper(&self) -> String {
        kebab(&self.kind.as_str().replace("::", "-")).split('-').map(capital).collect::<String>() + "Mapper"
    }

    /// The members that are texts, by what names a resource best.
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

    fn files(&self, sdk: &Sdk) -> Result<Vec<(String, String)>, Problem> {
        let own = [
            ("name", self.name.clone()),
            ("crate", self.name.replace('-', "_")),
            ("kind", self.kind.to_string()),
            ("mapper", self.mapper()),
            ("blueprint", self.blueprint()),
            ("service", self.listing.service.clone()),
            ("operation", self.listing.operation.clone()),
            ("cli", format!("{} {}", self.listing.service, kebab(&self.listing.operation))),
            ("sdk", sdk.dependency(false)),
            ("sdk_testing", sdk.dependency(true)),
        ];
        let (source, manifest, item) = match &self.listing.item {
            Value::Object(members) => self.of_object(members, &own)?,
            Value::String(_) => self.of_text(&own),
            other => {
                return Err(Problem::new(format!(
                    "the items of `{}` are neither objects nor texts: {other}",
                    self.listing.items
                )));
            }
        };
        let text =
            |value: &Value| serde_json::to_string_pretty(value).map(|text| text + "\n").unwrap_or_default();
        Ok(vec![
            ("Cargo.toml".into(), filled(template::CARGO, &own)),
            ("README.md".into(), filled(template::README, &own)),
            (".gitignore".into(), "/target\n".into()),
            ("manifest.json".into(), text(&manifest)),
            ("src/lib.rs".into(), source),
            ("tests/mapping.rs".into(), filled(template::TEST, &own)),
            ("fixtures/example.json".into(), text(&self.answer(item))),
        ])
    }

    fn of_object(
        &self,
        members: &Map<String, Value>,
        own: &[(&str, String)],
    ) -> Result<(String, Value, Value), Problem> {
        // EC2's items have ARNs in the model that its answers often leave out.
        let (first, second) = if self.listing.service == "ec2" { ("id", "arn") } else { ("arn", "id") };
        let endings = [first, second, "identifier", "name", "url"];
        let identifier = self.naming(members, &endings).ok_or_else(|| {
            Problem::new(format!("an item of `{}` has no text that could identify it", self.listing.items))
                .remedy("choose another operation, or another list with --items")
        })?;
        let title = self.naming(members, &["name", "id"]).unwrap_or(identifier);
        let simple = |value: &Value| !value.is_array() && !value.is_object();
        let field = |(member, sample): (&'_ String, &'_ Value)| (member.clone(), sample.clone());
        let chosen: Vec<(String, Value)> = members
            .iter()
            .filter(|(name, value)| simple(value) && name.as_str() != identifier)
            .take(PROPERTIES)
            .chain(
                members.iter().filter(|(name, value)| value.is_array() && name.eq_ignore_ascii_case("tags")),
            )
            .map(field)
            .collect();
        let fields: Vec<Field<'_>> = chosen.iter().map(|(member, sample)| Field { member, sample }).collect();
        let find =
            |name: &str| Field { member: name, sample: members.get(name).unwrap_or(&Value::Null) }.rust();

        let (mut rust, mut entity) = (String::new(), String::new());
        let mut used: Vec<Field<'_>> = vec![Field { member: identifier, sample: &Value::Null }];
        if title != identifier && !fields.iter().any(|field| field.member == title) {
            used.push(Field { member: title, sample: &Value::Null });
        }
        used.extend(chosen.iter().map(|(member, sample)| Field { member, sample }));
        for (position, field) in used.iter().enumerate() {
            let borrow = if position == 0 { ", borrow" } else { "" };
            let form = if field.is_time() { "Timestamp" } else { "Json" };
            // Writing to a String cannot fail.
            _ = writeln!(
                rust,
                "    #[serde(rename = \"{}\"{borrow})]\n    {}: {form}<'a>,",
                field.member,
                field.rust()
            );
        }
        for field in &fields {
            _ = writeln!(entity, "            .property(\"{}\", item.{})", field.property(), field.rust());
        }
        let mut properties = String::new();
        for field in &used {
            let form = match field {
                _ if field.member == identifier => ".required()",
                _ if field.is_time() => ".time()",
                _ => "",
            };
            // Only what is kept in another way than as it is, or under another name.
            if !form.is_empty() || field.document() != field.member {
                _ = writeln!(properties, "    Property::new(\"{}\"){form},", field.document());
            }
        }
        for (member, value) in members.iter().filter(|(_, value)| !simple(value)) {
            let times = times(value);
            if !times.is_empty() {
                let field = Field { member, sample: value };
                _ = writeln!(properties, "    Property::new(\"{}\").times(&{times:?}),", field.document());
            }
        }
        let mut slots = own.to_vec();
        let timestamp = if fields.iter().any(Field::is_time) { " Timestamp," } else { "" };
        slots.extend([
            ("timestamp", timestamp.to_owned()),
            ("item", self.noun()),
            ("fields", rust),
            ("properties", properties),
            ("identifier", find(identifier)),
            ("title", find(title)),
            ("entity", entity),
        ]);
        let document =
            |member: &str| format!(".Properties.{}", Field { member, sample: &Value::Null }.document());
        let schema: Map<String, Value> =
            fields.iter().map(|field| (field.property(), field.schema())).collect();
        let mapped = fields.iter().map(|field| (field.property(), json!(document(field.member)))).collect();
        let manifest = self.manifest(&schema, &document(identifier), &document(title), mapped);
        Ok((filled(template::OBJECT, &slots), manifest, self.example(&self.listing.item, "")))
    }

    fn of_text(&self, own: &[(&str, String)]) -> (String, Value, Value) {
        let member = self.noun();
        let mut slots = own.to_vec();
        slots.push(("member", member.clone()));
        let path = format!(".Properties.{member}");
        let manifest = self.manifest(&Map::new(), &path, &path, Map::new());
        (filled(template::TEXT, &slots), manifest, self.example(&self.listing.item, &member))
    }

    fn manifest(
        &self,
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
        let mut mappings =
            json!({"identifier": identifier, "title": title, "blueprint": format!("{blueprint:?}")});
        if !properties.is_empty() {
            mappings["properties"] = Value::Object(properties);
        }
        mappings["relations"] = json!({"account": ".__ExtraContext.AccountId"});
        json!({
            "name": self.name,
            "version": "0.1.0",
            "description": format!("{} by {}:{}", self.kind, self.listing.service, self.listing.operation),
            "kinds": [{
                "kind": self.kind,
                "scope": if self.listing.global { "global" } else { "regional" },
                "plan": {"steps": [step]},
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
        })
    }

    /// A plausible value in place of a model's sample.
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

    /// An answer of AWS with one item.
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

/// The names of times below a value, each once.
fn times(value: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if member == SAMPLE_TIME {
                    found.push(name.as_str());
                }
                found.extend(times(member));
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| found.extend(times(element))),
        _ => {}
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn filled(template: &str, slots: &[(&str, String)]) -> String {
    slots
        .iter()
        .fold(template.to_owned(), |text, (slot, value)| text.replace(&format!("{{{{{slot}}}}}"), value))
}

fn capital(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(first) = word.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    word
}

/// `DBInstanceIdentifier` to `db-instance-identifier`.
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
    use super::*;

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
