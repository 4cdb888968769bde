//! A resource that is read as its document would be, without making it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::Deserialize;

use super::{
    Code, DocumentOrigin, DocumentShape, NullPolicy, Part, Property, Source, Traced, TracedValue, Tracer,
    ValueForm,
};
use crate::{
    EvaluationResult, Expression, Found, PathTree, Slot, State, append_str, split_list, split_object,
    text::{member, string},
    time::{append_time, append_times},
};

/// What stands at a path.
fn at<'a>(resource: &'a str, path: &[String]) -> Option<&'a str> {
    path.iter().try_fold(resource, |text, name| match text.as_bytes().first() {
        Some(b'{') => member(text, name).ok().flatten(),
        _ => None,
    })
}

fn list_of(list: &str) -> Result<Vec<&str>, String> {
    split_list(list).map_err(|_| {
        let start: String = list.chars().take(40).collect();
        format!("`{start}` stands where a list is expected")
    })
}

/// Why a resource of an unforeseen shape is refused.
const SHAPE: &str = "it does not have the shape that the mapping reads";

/// What a batch of resources has in common.
#[derive(Debug, Deserialize)]
pub struct BatchContext {
    kind: String,
    account: String,
    region: Option<String>,
    partition: String,
    #[serde(default)]
    options: Vec<String>,
}

impl BatchContext {
    fn is_on(&self, option: Option<&String>) -> bool {
        option.is_none_or(|option| self.options.contains(option))
    }
}

/// The texts of a batch, as JSON.
#[derive(Debug)]
pub struct BatchTexts {
    kind: String,
    account: String,
    region: Option<String>,
}

impl BatchTexts {
    /// Those of a batch.
    pub fn new(context: &BatchContext) -> Self {
        Self {
            kind: quoted(&context.kind),
            account: quoted(&context.account),
            region: context.region.as_deref().map(quoted),
        }
    }
}

/// How the resources of a kind are read as documents.
#[derive(Debug)]
pub struct ResourceView {
    shape: DocumentShape,
    /// The sources of what is set, and of the members of `__ExtraContext`.
    sources: (Vec<Source>, Vec<Source>),
    listed: Vec<Property>,
    /// What is read of a resource.
    paths: PathTree,
    owner: Option<Slot>,
    item: Slot,
    /// The steps and the parents, which are objects.
    parts: BTreeMap<&'static str, Slot>,
    /// The paths of the objects that are merged, with whether they may be missing.
    merges: Vec<(Slot, bool)>,
    /// Sources that are evaluated, one after the other.
    computed: Vec<Computed>,
    /// What is read of a document, by the position of its slot.
    reads: Vec<(Vec<String>, Read)>,
    /// The properties that a document of its own needs; all of them where it is none.
    kept: Option<BTreeSet<String>>,
    split: Option<Split>,
}

/// How a resource is split that has a document for each element of a list.
#[derive(Debug)]
pub struct Split {
    paths: PathTree,
    each: Slot,
    list_name: String,
    join: Option<(Slot, String)>,
    /// The item of the resource, if a mapping reads of it.
    item: Option<Slot>,
}

impl Split {
    fn new(shape: &DocumentShape) -> Option<Self> {
        let names = |path: &str| -> Vec<String> { path.split('.').map(str::to_owned).collect() };
        let path = names(shape.each.as_deref()?);
        let mut paths = PathTree::default();
        let each = paths.add(&path);
        let join = shape.join.as_ref().map(|join| (paths.add(&names(&join.from)), join.by.clone()));
        let list_name = path.last().cloned().unwrap_or_default();
        Some(Self { paths, each, list_name, join, item: None })
    }

    /// What is read of a resource.
    pub fn paths(&self) -> &PathTree {
        &self.paths
    }

    /// What each document is made of: the element, what is joined to it, and the resource's item without the list.
    ///
    /// # Errors
    /// Why the resource is refused.
    pub fn parts(&self, found: &Found<'_>) -> Result<Vec<String>, String> {
        let list = |slot: Slot| match found.state(slot) {
            State::Text(text) => text,
            _ => "null",
        };
        let elements = list_of(list(self.each))?;
        let others = match &self.join {
            Some((slot, _)) if list(*slot) != "null" => list_of(list(*slot))?,
            _ => Vec::new(),
        };
        let by = self.join.as_ref().map(|(_, by)| by.as_str()).unwrap_or_default();
        let key = |object: &str| {
            member(object, by).ok().flatten().and_then(|key| string(key).ok().map(Cow::into_owned))
        };
        let mut rest = Vec::new();
        if let Some(State::Text(item)) = self.item.map(|item| found.state(item)) {
            for (name, value) in split_object(item).map_err(|_| no_object(item))? {
                if string(name).ok().as_deref() != Some(&self.list_name) {
                    rest.push(format!("{name}:{value}"));
                }
            }
        }
        let rest = rest.join(",");
        let mut parts = Vec::with_capacity(elements.len());
        for element in elements {
            let own = if others.is_empty() { None } else { key(element) };
            let joined = others.iter().find(|other| own.is_some() && key(other) == own);
            let (before, joined) = joined.map_or(("", ""), |joined| (",\"joined\":", *joined));
            parts.push(["{\"each\":", element, before, joined, ",\"item\":{", &rest, "}}"].concat());
        }
        Ok(parts)
    }
}

/// Where a path of the document is found.
#[derive(Debug)]
enum Read {
    Kind,
    Account,
    Region,
    Values {
        candidates: Vec<Candidate>,
        below: Vec<String>,
        /// Whether the text is not that of the resource.
        is_made: bool,
    },
    Nothing,
    /// In the document itself.
    Whole,
}

/// Where a value may be found.
#[derive(Debug)]
struct Candidate {
    place: Place,
    form: ValueForm,
    option: Option<String>,
    skips_null: bool,
}

#[derive(Debug)]
enum Place {
    Slot(Slot),
    Computed(usize),
}

/// A source that is evaluated.
#[derive(Debug)]
struct Computed {
    form: ComputedForm,
    /// Whether the resource is refused where it gives nothing.
    is_needed: bool,
}

#[derive(Debug)]
enum ComputedForm {
    Expression(Expression),
    Template(Vec<TemplatePart>),
}

#[derive(Debug)]
enum TemplatePart {
    Text(Part),
    Slot(Slot, String),
    Expression(Expression, String),
}

/// What was made of a resource, so that it can be read.
#[derive(Debug, Default)]
pub struct Made {
    texts: Vec<Option<String>>,
    computed: Vec<Option<String>>,
}

impl ResourceView {
    /// A view of resources whose documents have this shape.
    ///
    /// # Errors
    /// When the shape has a source that cannot be read.
    pub fn new(shape: DocumentShape) -> Result<Self, String> {
        let mut paths = PathTree::default();
        let names = |path: &str| -> Vec<String> { path.split('.').map(str::to_owned).collect() };
        let owner = shape.owner.as_deref().map(|owner| paths.add(&names(owner)));
        let item = paths.add_way(&["item"]);
        let merges =
            // There may be no steps at all.
            shape.merges().into_iter().map(|(path, optional)| (paths.add_way(&path), optional || path == ["steps"])).collect();
        let listed = shape.listed();
        let set = shape.set.0.iter().map(|(_, source)| Source::read(&source.value, &[]));
        let extra = shape.context.0.iter().map(|(_, source)| Source::read(source, &[]));
        let sources = (set.collect::<Result<Vec<_>, _>>()?, extra.collect::<Result<Vec<_>, _>>()?);
        let split = Split::new(&shape);
        let mut view = Self {
            shape,
            sources,
            listed,
            paths,
            owner,
            item,
            parts: BTreeMap::new(),
            merges,
            computed: Vec::new(),
            reads: Vec::new(),
            kept: Some(BTreeSet::new()),
            split,
        };
        // Texts that are set come first, as they may refuse a resource.
        for source in view.sources.0.clone() {
            if let Source::Template(parts) = source {
                let form = view.template(parts)?;
                view.computed.push(Computed { form, is_needed: true });
            }
        }
        for part in ["steps", "parents"] {
            view.note_part(part);
        }
        let required: Vec<_> = view
            .listed
            .iter()
            .filter(|property| property.required)
            .map(|property| property.name.clone())
            .collect();
        for name in required {
            view.slot(&["Properties".to_owned(), name])?;
        }
        Ok(view)
    }

    /// Has a path of the resource found.
    fn add<K: AsRef<str>>(&mut self, path: &[K]) -> Slot {
        if let Some(first) = path.first() {
            self.note_part(first.as_ref());
        }
        self.paths.add(path)
    }

    fn note_part(&mut self, name: &str) {
        if let (Some(split), "item") = (&mut self.split, name) {
            split.item = Some(split.paths.add(&["item"]));
        }
        for part in ["steps", "parents"] {
            if name == part {
                let slot = self.paths.add_way(&[part]);
                self.parts.insert(part, slot);
            }
        }
    }

    /// What is read of a resource.
    pub fn paths(&self) -> &PathTree {
        &self.paths
    }

    /// The slot of a path of the document, which is found from now on.
    ///
    /// # Errors
    /// When the shape has a source that cannot be read.
    pub fn slot(&mut self, path: &[String]) -> Result<Slot, String> {
        if let Some(position) = self.reads.iter().position(|(known, _)| known == path) {
            return Ok(Slot::at(position));
        }
        let traced = Tracer::new(&self.shape).trace(path)?;
        let read = match traced {
            Traced::Kind => Read::Kind,
            Traced::Account => Read::Account,
            Traced::Region => Read::Region,
            Traced::Nothing => Read::Nothing,
            Traced::Whole => {
                self.note_part("item");
                Read::Whole
            }
            Traced::Values { values, below } => {
                let mut candidates = Vec::new();
                for value in values {
                    candidates.push(self.candidate(value)?);
                }
                let is_made = !below.is_empty()
                    || candidates.iter().any(|candidate: &Candidate| candidate.form != ValueForm::AsIs);
                Read::Values { candidates, below, is_made }
            }
        };
        self.reads.push((path.to_vec(), read));
        Ok(Slot::at(self.reads.len() - 1))
    }

    /// Keeps a path in [pruned](Self::pruned) documents.
    pub fn keep(&mut self, path: &[String]) {
        match path {
            [first, name, ..] if first == "Properties" => {
                if let Some(kept) = &mut self.kept {
                    kept.insert(name.clone());
                }
            }
            [] => self.keep_all(),
            [first] if first == "Properties" => self.kept = None,
            [first, ..] if first == "__ExtraContext" => self.note_part("item"),
            _ => {}
        }
    }

    /// Keeps all of the document.
    pub fn keep_all(&mut self) {
        self.kept = None;
        self.note_part("item");
    }

    fn candidate(&mut self, value: TracedValue) -> Result<Candidate, String> {
        let (place, form, option, skips_null) = match value {
            TracedValue::Member { path, form, option, skips_null } => {
                self.note_part(path.first().map_or("", |name| &name.text));
                (Place::Slot(self.paths.add_named(&path)), form, option, skips_null)
            }
            TracedValue::Expression { code, option } => {
                let form = ComputedForm::Expression(self.expression(&code)?);
                self.computed.push(Computed { form, is_needed: false });
                (Place::Computed(self.computed.len() - 1), ValueForm::AsIs, option, false)
            }
            TracedValue::Template(position) => {
                let earlier = self.sources.0[..position].iter();
                let position = earlier.filter(|source| matches!(source, Source::Template(_))).count();
                (Place::Computed(position), ValueForm::AsIs, None, false)
            }
            TracedValue::ContextTemplate(position) => {
                if let Source::Template(parts) = self.sources.1[position].clone() {
                    let form = self.template(parts)?;
                    self.computed.push(Computed { form, is_needed: false });
                }
                (Place::Computed(self.computed.len() - 1), ValueForm::AsIs, None, false)
            }
        };
        Ok(Candidate { place, form, option, skips_null })
    }

    fn expression(&mut self, code: &Code) -> Result<Expression, String> {
        let parsed =
            Expression::parse(&code.text).ok_or_else(|| format!("`{}` needs a whole JQ", code.text))?;
        for path in parsed.paths() {
            self.add(path);
        }
        Ok(parsed.place(&mut self.paths))
    }

    fn template(&mut self, parts: Vec<Part>) -> Result<ComputedForm, String> {
        let mut read = Vec::new();
        for part in parts {
            read.push(match part {
                Part::Path(path, name) => TemplatePart::Slot(self.add(&path), name),
                Part::Expression(code, name) => TemplatePart::Expression(self.expression(&code)?, name),
                part => TemplatePart::Text(part),
            });
        }
        Ok(ComputedForm::Template(read))
    }

    /// How a resource is split that may have several documents.
    pub fn split(&self) -> Option<&Split> {
        self.split.as_ref()
    }

    /// Makes what must be made of a resource to read it. `None` for one that has no document.
    ///
    /// # Errors
    /// Why the resource is refused.
    pub fn make(
        &self,
        resource: &str,
        found: &Found<'_>,
        context: &BatchContext,
        texts: &BatchTexts,
    ) -> Result<Option<Made>, String> {
        if self.owner.is_some_and(|owner| {
            matches!(found.state(owner), State::Text(owner) if owner.starts_with('"') && owner != texts.account)
        }) {
            return Ok(None);
        }
        if found.state(self.item) == State::Missing {
            return Err(format!("{SHAPE}: there is no `item`"));
        }
        for (name, part) in &self.parts {
            match found.state(*part) {
                State::Missing | State::Object => {}
                State::Text(text) if text.starts_with('{') => {}
                State::Text(_) | State::Blocked => return Err(format!("{SHAPE}: `{name}` is no object")),
            }
        }
        for (merge, optional) in &self.merges {
            match found.state(*merge) {
                State::Object => {}
                State::Missing | State::Text("null") if *optional => {}
                State::Text(text) if text.starts_with('{') => {}
                State::Text(text) => return Err(no_object(text)),
                State::Missing | State::Blocked => return Err(no_object("null")),
            }
        }
        let mut made = Made::default();
        for computed in &self.computed {
            made.computed.push(match computed.evaluate(found, context) {
                Ok(value) => value,
                Err(reason) if computed.is_needed => return Err(reason),
                Err(_) => None,
            });
        }
        for (path, read) in &self.reads {
            let text = match read {
                Read::Values { candidates, below, is_made: true } => {
                    made_value(candidates, below, found, context, &made.computed)?
                }
                Read::Whole => {
                    let document = self.whole(resource, found, context, None)?;
                    let mut text = document.as_str();
                    for name in path {
                        text = member(text, name).ok().flatten().unwrap_or("null");
                    }
                    Some(text.to_owned())
                }
                _ => None,
            };
            made.texts.push(text);
        }
        Ok(Some(made))
    }

    /// What stands at the paths of the document.
    ///
    /// # Errors
    /// Why the resource is refused: a property that it must have is missing.
    pub fn found<'a>(
        &'a self,
        found: &Found<'a>,
        context: &BatchContext,
        texts: &'a BatchTexts,
        made: &'a Made,
    ) -> Result<Found<'a>, String> {
        let document: Found<'a> = self
            .reads
            .iter()
            .zip(&made.texts)
            .map(|((_, read), made_text)| match (read, made_text) {
                (_, Some(text)) => State::Text(text),
                (Read::Kind, None) => State::Text(&texts.kind),
                (Read::Account, None) => State::Text(&texts.account),
                (Read::Region, None) => texts.region.as_deref().map_or(State::Missing, State::Text),
                (Read::Values { candidates, .. }, None) => chosen(candidates, found, context, &made.computed)
                    .map_or(State::Missing, |(_, state)| state),
                (Read::Nothing | Read::Whole, None) => State::Missing,
            })
            .collect();
        // They come first.
        for (position, property) in self.listed.iter().filter(|property| property.required).enumerate() {
            if matches!(document.state(Slot::at(position)), State::Missing | State::Text("null")) {
                return Err(format!("it has no `{}`", property.name));
            }
        }
        Ok(document)
    }

    /// The document of a resource.
    ///
    /// # Errors
    /// Why the resource is refused.
    pub fn document(
        &self,
        resource: &str,
        found: &Found<'_>,
        context: &BatchContext,
    ) -> Result<String, String> {
        self.whole(resource, found, context, None)
    }

    /// The document of a resource, with the properties that are [kept](Self::keep) and no others.
    ///
    /// # Errors
    /// Why the resource is refused.
    pub fn pruned(
        &self,
        resource: &str,
        found: &Found<'_>,
        context: &BatchContext,
    ) -> Result<String, String> {
        self.whole(resource, found, context, self.kept.as_ref())
    }

    fn whole(
        &self,
        resource: &str,
        found: &Found<'_>,
        context: &BatchContext,
        only: Option<&BTreeSet<String>>,
    ) -> Result<String, String> {
        let at = |path: &[String]| at(resource, path);
        let mut entries = Entries { only, list: Vec::new() };
        for (path, _) in self.shape.merges() {
            let Some(object) = at(&path).filter(|text| text.starts_with('{')) else { continue };
            for (name, value) in split_object(object).map_err(|_| broken())? {
                let name = string(name).map_err(|_| broken())?;
                self.merge(&name, value, &mut entries);
            }
        }
        let mut templates = 0;
        for ((name, source), read) in self.shape.set.0.iter().zip(&self.sources.0) {
            let value = match read {
                Source::Path(path) => at(path).map(str::to_owned),
                Source::Template(_) => {
                    templates += 1;
                    self.computed
                        .get(templates - 1)
                        .map(|of| of.evaluate(found, context))
                        .transpose()?
                        .flatten()
                }
                Source::Expression(code) => evaluate_alone(code, resource)?,
            };
            let is_null = value.as_deref().is_none_or(|value| value == "null");
            let is_left = match source.nulls {
                NullPolicy::Skip => is_null,
                NullPolicy::Keep => value.is_none(),
                NullPolicy::Write => false,
            };
            if !is_left && context.is_on(source.option.as_ref()) {
                entries.put(name, value.unwrap_or_else(|| "null".to_owned()), true);
            }
        }
        let mut extra = Vec::new();
        if self.shape.origin != DocumentOrigin::None {
            extra.push((Cow::Borrowed("AccountId"), quoted(&context.account)));
        }
        if let (DocumentOrigin::Region, Some(region)) = (self.shape.origin, &context.region) {
            extra.push((Cow::Borrowed("Region"), quoted(region)));
        }
        for ((name, _), source) in self.shape.context.0.iter().zip(&self.sources.1) {
            let value = match source {
                Source::Path(path) if name == "*" => {
                    let object = at(path).filter(|text| text.starts_with('{')).unwrap_or("{}");
                    for (name, value) in split_object(object).map_err(|_| broken())? {
                        extra.push((string(name).map_err(|_| broken())?, value.to_owned()));
                    }
                    None
                }
                Source::Path(path) => at(path).map(str::to_owned),
                Source::Expression(code) => evaluate_alone(code, resource)?,
                Source::Template(parts) => {
                    Some(text_alone(parts, resource, context).unwrap_or("null".to_owned()))
                }
            };
            if let Some(value) = value {
                extra.push((Cow::Borrowed(name.as_str()), value));
            }
        }
        Ok(entries.document(&extra, context))
    }

    /// Puts a member into the document, by the rules of the shape.
    fn merge(&self, member: &str, value: &str, entries: &mut Entries<'_>) {
        let small = |name: &str| {
            name.len() == member.len()
                && name.get(1..) == member.get(1..)
                && name.get(..1).map(str::to_ascii_lowercase).as_deref() == member.get(..1)
        };
        let property = self.listed.iter().find(|property| {
            property.name == member
                || match &property.member {
                    Some(other) => other == member,
                    None => small(&property.name),
                }
        });
        match property {
            Some(property) => {
                let mut json = Vec::new();
                property.form.append(value, &mut json);
                let json = String::from_utf8_lossy(&json).into_owned();
                entries.put(&property.name, json, property.name == member);
            }
            None if self.shape.keep_unknown => entries.put(member, value.to_owned(), true),
            None => {}
        }
    }
}

/// The text of a value that is not one of the resource as it is.
fn made_value(
    candidates: &[Candidate],
    below: &[String],
    found: &Found<'_>,
    context: &BatchContext,
    computed: &[Option<String>],
) -> Result<Option<String>, String> {
    let Some((candidate, state)) = chosen(candidates, found, context, computed) else { return Ok(None) };
    let State::Text(text) = state else { return Ok(None) };
    let mut value = Cow::Borrowed(text);
    if candidate.form != ValueForm::AsIs {
        let mut json = Vec::new();
        candidate.form.append(text, &mut json);
        value = Cow::Owned(String::from_utf8_lossy(&json).into_owned());
    }
    for name in below {
        let next = match value.as_bytes().first() {
            Some(b'{') => member(&value, name).map_err(|_| broken())?.unwrap_or("null").to_owned(),
            Some(b'n') => "null".to_owned(),
            _ => return Err(no_object(&value)),
        };
        value = Cow::Owned(next);
    }
    Ok(Some(value.into_owned()))
}

/// The first value that is there.
fn chosen<'c, 'a>(
    candidates: &'c [Candidate],
    found: &Found<'a>,
    context: &BatchContext,
    computed: &'a [Option<String>],
) -> Option<(&'c Candidate, State<'a>)> {
    candidates.iter().find_map(|candidate| {
        let state = match &candidate.place {
            Place::Slot(slot) => found.state(*slot),
            Place::Computed(position) => {
                computed.get(*position)?.as_deref().map_or(State::Missing, State::Text)
            }
        };
        let is_there = match state {
            State::Missing => false,
            State::Text("null") => !candidate.skips_null,
            State::Text(_) | State::Object | State::Blocked => true,
        };
        (is_there && context.is_on(candidate.option.as_ref())).then_some((candidate, state))
    })
}

impl Computed {
    /// The value as JSON; none where there is none.
    fn evaluate(&self, found: &Found<'_>, context: &BatchContext) -> Result<Option<String>, String> {
        match &self.form {
            ComputedForm::Expression(expression) => match expression.evaluate(found) {
                EvaluationResult::Value(value) => Ok(Some(json(&value))),
                EvaluationResult::Nothing | EvaluationResult::Failed => Ok(None),
                EvaluationResult::Deferred => Err(SHAPE.to_owned()),
            },
            ComputedForm::Template(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        TemplatePart::Text(part) => text.push_str(literal(part, context)),
                        TemplatePart::Slot(slot, name) => match found.state(*slot) {
                            State::Text(json) => text.push_str(&filled(json, name)?),
                            _ => return Err(format!("it has no `{name}`")),
                        },
                        TemplatePart::Expression(expression, name) => match expression.evaluate(found) {
                            EvaluationResult::Value(value) => text.push_str(&filled(&json(&value), name)?),
                            _ => return Err(format!("it has no `{name}`")),
                        },
                    }
                }
                Ok(Some(quoted(&text)))
            }
        }
    }
}

/// The text of a part of a template that is no part of the resource.
fn literal<'a>(part: &'a Part, context: &'a BatchContext) -> &'a str {
    match part {
        Part::Literal(text) => text,
        Part::Account => &context.account,
        Part::Region => context.region.as_deref().unwrap_or_default(),
        Part::Partition => &context.partition,
        Part::Path(..) | Part::Expression(..) => "",
    }
}

/// The text that a placeholder needs.
fn filled(json: &str, name: &str) -> Result<String, String> {
    let text = if json.starts_with('"') { string(json).map_err(|_| broken())? } else { Cow::Borrowed("") };
    if text.is_empty() { Err(format!("it has no `{name}`")) } else { Ok(text.into_owned()) }
}

/// The value of an expression on a resource, as JSON.
fn evaluate_alone(code: &Code, resource: &str) -> Result<Option<String>, String> {
    let mut paths = PathTree::default();
    let parsed = Expression::parse(&code.text).ok_or_else(|| format!("`{}` needs a whole JQ", code.text))?;
    let form = ComputedForm::Expression(parsed.place(&mut paths));
    let mut found = Found::default();
    paths.find(resource, &mut found).map_err(|_| broken())?;
    let ComputedForm::Expression(expression) = &form else { return Ok(None) };
    Ok(match expression.evaluate(&found) {
        EvaluationResult::Value(value) => Some(json(&value)),
        _ => None,
    })
}

/// The text of a template on a resource, as JSON.
fn text_alone(parts: &[Part], resource: &str, context: &BatchContext) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Path(path, name) => {
                let code =
                    Code { text: format!(".{}", path.join(".")), paths: vec![path.clone()], is_path: true };
                text.push_str(&filled(&evaluate_alone(&code, resource).ok()??, name).ok()?);
            }
            Part::Expression(code, name) => {
                text.push_str(&filled(&evaluate_alone(code, resource).ok()??, name).ok()?);
            }
            part => text.push_str(literal(part, context)),
        }
    }
    Some(quoted(&text))
}

fn json(value: &crate::Value<'_>) -> String {
    let mut json = Vec::new();
    value.write(&mut json);
    String::from_utf8_lossy(&json).into_owned()
}

fn quoted(text: &str) -> String {
    let mut json = Vec::new();
    append_str(text, &mut json);
    String::from_utf8_lossy(&json).into_owned()
}

fn no_object(json: &str) -> String {
    let start: String = json.chars().take(40).collect();
    format!("`{start}` stands where an object is expected")
}

fn broken() -> String {
    "it is no JSON".to_owned()
}

/// The properties of a document that is being made.
struct Entries<'o> {
    only: Option<&'o BTreeSet<String>>,
    /// Name, value, and whether it came under the property's own name.
    list: Vec<(String, String, bool)>,
}

impl Entries<'_> {
    fn put(&mut self, name: &str, value: String, by_name: bool) {
        if self.only.is_some_and(|only| !only.contains(name)) {
            return;
        }
        match self.list.iter_mut().find(|(known, ..)| known == name) {
            Some(entry) if by_name || !entry.2 => *entry = (name.to_owned(), value, by_name),
            Some(_) => {}
            None => self.list.push((name.to_owned(), value, by_name)),
        }
    }

    fn document(&self, extra: &[(Cow<'_, str>, String)], context: &BatchContext) -> String {
        let object = |members: &mut dyn Iterator<Item = (&str, &str)>| {
            let members: Vec<_> = members.map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
            format!("{{{}}}", members.join(","))
        };
        let properties =
            object(&mut self.list.iter().map(|(name, value, _)| (name.as_str(), value.as_str())));
        let mut members = vec![("Type", quoted(&context.kind)), ("Properties", properties)];
        if !extra.is_empty() {
            let extra = object(&mut extra.iter().map(|(name, value)| (name.as_ref(), value.as_str())));
            members.push(("__ExtraContext", extra));
        }
        members.push(("__AccountId", quoted(&context.account)));
        if let Some(region) = &context.region {
            members.push(("__Region", quoted(region)));
        }
        object(&mut members.iter().map(|(name, value)| (*name, value.as_str())))
    }
}

impl ValueForm {
    /// Appends a value of JSON in this form.
    pub fn append(&self, json: &str, out: &mut Vec<u8>) {
        let unquoted = || json.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        match self {
            Self::AsIs => out.extend_from_slice(json.as_bytes()),
            Self::Time => append_time(out, json),
            Self::Times(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                append_times(out, json, &names);
            }
            // The parsed number, not its text: `+3` and `007` are numbers to Rust, but not to JSON.
            Self::Number => match unquoted().and_then(|text| text.parse::<i64>().ok()) {
                Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
                None => out.extend_from_slice(json.as_bytes()),
            },
            Self::Boolean => out.extend_from_slice(
                unquoted().filter(|text| matches!(*text, "true" | "false")).unwrap_or(json).as_bytes(),
            ),
        }
    }
}
