//! Compares the public API of `berth-embed` with `public-api.txt`, so that a change of it is visible where it
//! is made.
//!
//! The snapshot is the sources' own text without bodies, documentation and private fields: all that
//! this crate exports, from whichever crate of the host it comes (types that a macro makes, by name only).
//! Read from the sources, since rustdoc's JSON needs another toolchain than the one here, and a compilation
//! of every dependency.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; clippy.toml exempts only functions with #[test]"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Block, Field, Fields, FieldsNamed, FieldsUnnamed, File, ImplItem, Item, ItemImpl, Meta, Type,
    UseTree, Visibility, punctuated::Punctuated,
};

/// A crate of the host: its items by name, the `impl` blocks of each type, and what `lib.rs` exports.
struct Source {
    items: BTreeMap<String, Vec<Item>>,
    impls: BTreeMap<String, Vec<ItemImpl>>,
    /// Names that `lib.rs` itself defines.
    own: BTreeSet<String>,
    /// What each public module exports: the name there, and the path that it stands for.
    modules: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// The name here, and the path of its definition.
    exports: BTreeMap<String, Vec<String>>,
}

fn source(krate: &str) -> Source {
    let folder = match krate {
        "berth_aws_protocol" => "aws-protocol",
        krate => krate.strip_prefix("berth_").unwrap(),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("src");
    let mut source = Source {
        items: BTreeMap::new(),
        impls: BTreeMap::new(),
        own: BTreeSet::new(),
        modules: BTreeMap::new(),
        exports: BTreeMap::new(),
    };
    let lib = parse(&root.join("lib.rs"));
    for item in &lib.items {
        match item {
            Item::Use(used) if is_public(&used.vis) => {
                exports(&used.tree, &mut Vec::new(), &mut source.exports);
            }
            Item::Mod(module) if is_public(&module.vis) => {
                let name = module.ident.to_string();
                let mut found = BTreeMap::new();
                for item in parse(&file_of(&root.join(&name))).items {
                    if let Item::Use(used) = item
                        && is_public(&used.vis)
                    {
                        exports(&used.tree, &mut Vec::new(), &mut found);
                    }
                }
                source.modules.insert(name, found);
            }
            _ => {}
        }
    }
    source.own = lib.items.iter().filter_map(public_name).collect();
    collect(lib.items, &root, &mut source);
    source
}

/// Returns the file of a module.
fn file_of(module: &Path) -> PathBuf {
    let beside = module.with_extension("rs");
    if beside.is_file() { beside } else { module.join("mod.rs") }
}

fn parse(path: &Path) -> File {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Collects everything in a file and the modules below it.
fn collect(items: Vec<Item>, folder: &Path, into: &mut Source) {
    for item in items {
        match item {
            Item::Mod(module) if module.content.is_none() && !is_test(&module.attrs) => {
                let below = folder.join(module.ident.to_string());
                collect(parse(&file_of(&below)).items, &below, into);
            }
            Item::Impl(block) => {
                if let Some(name) = type_name(&block.self_ty) {
                    into.impls.entry(name).or_default().push(block);
                }
            }
            item => {
                if let Some(name) = public_name(&item) {
                    into.items.entry(name).or_default().push(item);
                }
            }
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn public_name(item: &Item) -> Option<String> {
    let (visibility, name) = match item {
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Enum(item) => (&item.vis, &item.ident),
        Item::Trait(item) => (&item.vis, &item.ident),
        Item::Type(item) => (&item.vis, &item.ident),
        Item::Const(item) => (&item.vis, &item.ident),
        Item::Fn(item) => (&item.vis, &item.sig.ident),
        _ => return None,
    };
    is_public(visibility).then(|| name.to_string())
}

fn type_name(of: &Type) -> Option<String> {
    match of {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        _ => None,
    }
}

fn exports(tree: &UseTree, path: &mut Vec<String>, found: &mut BTreeMap<String, Vec<String>>) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            exports(&part.tree, path, found);
            path.pop();
        }
        UseTree::Name(name) => {
            let mut path = path.clone();
            path.push(name.ident.to_string());
            found.insert(name.ident.to_string(), path);
        }
        UseTree::Rename(rename) => {
            let mut path = path.clone();
            path.push(rename.ident.to_string());
            found.insert(rename.rename.to_string(), path);
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| exports(tree, path, found)),
        UseTree::Glob(_) => panic!("name what is exported from {}", path.join("::")),
    }
}

/// Returns whether users of an item notice an attribute.
fn is_seen(attribute: &Attribute) -> bool {
    let seen = ["derive", "non_exhaustive", "deprecated", "must_use", "cfg"];
    seen.iter().any(|name| attribute.path().is_ident(name))
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        matches!(&attribute.meta, Meta::List(list)
            if list.path.is_ident("cfg") && list.tokens.to_string().contains("test"))
    })
}

fn public_fields(fields: &mut Fields) {
    let keep = |fields: &Punctuated<Field, _>| -> Punctuated<Field, syn::Token![,]> {
        let public = fields.iter().filter(|field| is_public(&field.vis)).cloned();
        public.map(|field| Field { attrs: Vec::new(), ..field }).collect()
    };
    match fields {
        Fields::Named(FieldsNamed { named, .. }) => *named = keep(named),
        Fields::Unnamed(FieldsUnnamed { unnamed, .. }) => *unnamed = keep(unnamed),
        Fields::Unit => {}
    }
}

fn empty() -> Block {
    syn::parse_quote!({})
}

/// Returns the public part of an item.
fn face(mut item: Item) -> Item {
    let undocumented = |attributes: &mut Vec<Attribute>| attributes.retain(is_seen);
    match &mut item {
        Item::Struct(item) => {
            undocumented(&mut item.attrs);
            public_fields(&mut item.fields);
        }
        Item::Enum(item) => {
            undocumented(&mut item.attrs);
            for variant in &mut item.variants {
                undocumented(&mut variant.attrs);
                variant.fields.iter_mut().for_each(|field| field.attrs.clear());
            }
        }
        Item::Trait(item) => {
            undocumented(&mut item.attrs);
            for item in &mut item.items {
                if let syn::TraitItem::Fn(function) = item {
                    undocumented(&mut function.attrs);
                    function.default = function.default.as_ref().map(|_| empty());
                }
            }
        }
        Item::Type(item) => undocumented(&mut item.attrs),
        Item::Const(item) => undocumented(&mut item.attrs),
        Item::Fn(item) => {
            undocumented(&mut item.attrs);
            *item.block = empty();
        }
        _ => {}
    }
    item
}

/// Returns the public part of an `impl` block; `None` if it has none.
fn face_of_impl(mut block: ItemImpl) -> Option<ItemImpl> {
    if is_test(&block.attrs) {
        return None;
    }
    block.attrs.clear();
    if block.trait_.is_some() {
        // The implementation itself is all there is to know, except for types that it names.
        block.items.retain(|item| matches!(item, ImplItem::Type(_)));
        return Some(block);
    }
    block.items.retain(|item| match item {
        ImplItem::Fn(function) => is_public(&function.vis),
        ImplItem::Const(constant) => is_public(&constant.vis),
        _ => false,
    });
    for item in &mut block.items {
        match item {
            ImplItem::Fn(function) => {
                function.attrs.retain(is_seen);
                function.block = empty();
            }
            ImplItem::Const(constant) => constant.attrs.clear(),
            _ => {}
        }
    }
    (!block.items.is_empty()).then_some(block)
}

/// Returns items as text, ordered by name; their `impl` blocks follow them.
fn listing(source: &Source, items: Vec<Item>) -> String {
    let mut text = String::new();
    for item in items {
        let name = public_name(&item);
        let impls = name.and_then(|name| source.impls.get(&name)).into_iter().flatten().cloned();
        let mut items: Vec<Item> = vec![face(item)];
        items.extend(impls.filter_map(face_of_impl).map(Item::Impl));
        text += &prettyplease::unparse(&File { shebang: None, frontmatter: None, attrs: Vec::new(), items });
        text += "\n";
    }
    text
}

struct Host {
    sources: BTreeMap<String, Source>,
}

impl Host {
    fn of(&mut self, krate: &str) -> &Source {
        self.sources.entry(krate.to_owned()).or_insert_with(|| source(krate))
    }

    /// Returns the text of the item at a path, and the crate that defines it.
    fn named(&mut self, within: &str, path: &[String]) -> String {
        let (first, last) = (path.first().unwrap().clone(), path.last().unwrap().clone());
        if first.starts_with("berth_") && first != within {
            return self.named(&first, &path[1..]);
        }
        let source = self.of(within);
        if let Some(items) = source.items.get(&last) {
            let [item] = &items[..] else { panic!("{within} has several public items called {last}") };
            return listing(source, vec![item.clone()]);
        }
        match source.exports.get(&last).cloned() {
            Some(path) if path.first().is_some_and(|first| first.starts_with("berth_")) => {
                self.named(within, &path)
            }
            // Another project's item is documented there.
            _ => format!("pub use {};\n\n", path.join("::")),
        }
    }

    /// What a crate exports, by the path that others name it by.
    fn exports(&mut self, krate: &str) -> BTreeMap<String, Vec<String>> {
        let source = self.of(krate);
        let own = source.own.iter().map(|name| (name.clone(), vec![name.clone()]));
        let mut names: BTreeMap<_, _> = source.exports.clone().into_iter().chain(own).collect();
        for (module, exports) in &source.modules {
            names.extend(exports.iter().map(|(name, path)| (format!("{module}::{name}"), path.clone())));
        }
        names
    }

    /// Returns everything that a crate exports.
    fn whole(&mut self, krate: &str) -> String {
        let mut text = String::new();
        for (name, path) in self.exports(krate) {
            text.extend(["// ---- ", krate, "::", &name, "\n", &self.named(krate, &path)]);
        }
        text
    }
}

#[test]
fn the_public_api_is_the_one_that_was_agreed_to() {
    let mut host = Host { sources: BTreeMap::new() };
    let text = host.whole("berth_embed");
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("public-api.txt");
    if env::var_os("BERTH_BLESS").is_some() {
        fs::write(&file, text).unwrap();
        return;
    }
    let agreed = fs::read_to_string(&file).unwrap_or_default();
    if let Some((line, (was, is))) =
        agreed.lines().chain([""]).zip(text.lines().chain([""])).enumerate().find(|(_, (was, is))| was != is)
    {
        panic!(
            "the public API of berth-embed has changed, first at line {} of host/embed/public-api.txt:\n- \
            {was}\n+ {is}\nIf this is intended: run BERTH_BLESS=1 cargo test --workspace --test public_api, \
            review the difference in git, and tell users in CHANGELOG.md",
            line + 1
        );
    }
    assert_eq!(agreed.lines().count(), text.lines().count(), "see host/embed/public-api.txt");
}

/// Names of types of the host that stand in the text, whether or not they are exported. The paths of others
/// (`reqwest::Client`), variants and the traits of `impl` blocks are left out.
fn named_types<'t>(text: &'t str, known: &BTreeSet<&str>) -> BTreeSet<&'t str> {
    let lines = text.lines().filter(|line| {
        let implements = line.starts_with("impl") && line.contains(" for ");
        !implements && !line.starts_with("//")
    });
    let mut found = BTreeSet::new();
    for line in lines {
        let signature = line.trim_start_matches("    ");
        let variant =
            signature.len() < line.len() && signature.starts_with(|first: char| first.is_uppercase());
        let signature = if variant { signature.trim_start_matches(char::is_alphanumeric) } else { signature };
        // A path is one word here.
        let words =
            signature.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':');
        found.extend(words.filter(|word| word.starts_with(char::is_uppercase) && known.contains(word)));
    }
    found
}

#[test]
fn every_type_of_a_signature_is_exported() {
    let mut host = Host { sources: BTreeMap::new() };
    let text = host.whole("berth_embed");
    let exports = host.exports("berth_embed");
    let exported: BTreeSet<&str> = exports.keys().filter_map(|name| name.rsplit("::").next()).collect();
    let known: BTreeSet<&str> =
        host.sources.values().flat_map(|source| source.items.keys()).map(String::as_str).collect();
    assert!(known.contains("FetchPlan") && known.contains("Approved"));
    // `std::path::Path`, not that of fetch plans.
    let missing: Vec<&str> = named_types(&text, &known)
        .into_iter()
        .filter(|name| !exported.contains(name) && *name != "Path")
        .collect();
    assert_eq!(missing, [""; 0], "these stand in signatures of berth-embed: export them, or take them out");
    let leak =
        "impl Engine {\n    pub fn plan(&self, other: io::Engine) -> &FetchPlan {}\n    Planned(Unit),\n}";
    let known = BTreeSet::from(["Engine", "FetchPlan", "Planned", "Unit"]);
    assert_eq!(named_types(leak, &known), BTreeSet::from(["Engine", "FetchPlan", "Unit"]));
}
