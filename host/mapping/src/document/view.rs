//! A resource that is read as its document would be, without making it.

mod computed;
mod split;
mod whole;

use std::{borrow::Cow, collections::BTreeSet};

use serde::Deserialize;

use self::computed::{Computed, ComputedForm, PlacedPart, SHAPE, broken, quoted};
use super::{
    DocumentShape, Property, SourceExpression, TemplatePart, Traced, TracedValue, Tracer, ValueForm,
    ValueSource, misplaced, names_of,
};
use crate::{Expression, Found, PathTree, Slot, State, text::member};

pub use split::Split;

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
    /// The sources of what is set.
    set: Vec<Placed>,
    /// The sources of the members of `__ExtraContext`.
    extra: Vec<Placed>,
    listed: Vec<Property>,
    /// What is read of a resource.
    paths: PathTree,
    owner: Option<Slot>,
    item: Slot,
    /// The steps and the parents, which are objects.
    parts: [(&'static str, Slot); 2],
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

impl Candidate {
    fn computed(position: usize, option: Option<String>) -> Self {
        Self { place: Place::Computed(position), form: ValueForm::AsIs, option, skips_null: false }
    }
}

/// Where a source finds its value.
#[derive(Debug)]
enum Placed {
    /// At a path of the resource.
    Path(Vec<String>),
    /// It is computed: the position among what is.
    Computed(usize),
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
        let owner = shape.owner.as_deref().map(|owner| paths.add(&names_of(owner)));
        let item = paths.add_way(&["item"]);
        let parts = ["steps", "parents"].map(|part| (part, paths.add_way(&[part])));
        // There may be no steps at all.
        let merge =
            |(path, optional): (Vec<String>, bool)| (paths.add_way(&path), optional || path == ["steps"]);
        let merges = shape.merges().into_iter().map(merge).collect();
        let listed = shape.listed();
        let split = Split::new(&shape);
        let mut view = Self {
            shape,
            set: Vec::new(),
            extra: Vec::new(),
            listed,
            paths,
            owner,
            item,
            parts,
            merges,
            computed: Vec::new(),
            reads: Vec::new(),
            kept: Some(BTreeSet::new()),
            split,
        };
        for position in 0..view.shape.set.0.len() {
            let placed = view.place(&ValueSource::read(&view.shape.set.0[position].1.value, &[])?, true)?;
            view.set.push(placed);
        }
        for position in 0..view.shape.context.0.len() {
            let placed = view.place(&ValueSource::read(&view.shape.context.0[position].1, &[])?, false)?;
            view.extra.push(placed);
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

    /// Has the item found where a resource is split, if that is what a path begins with.
    fn note_item(&mut self, first: Option<&str>) {
        if let (Some(split), Some("item")) = (&mut self.split, first) {
            split.item = Some(split.paths.add(&["item"]));
        }
    }

    /// Places a source. A text that `is_needed` refuses a resource without one of its values.
    fn place(&mut self, source: &ValueSource, is_needed: bool) -> Result<Placed, String> {
        let form = match source {
            ValueSource::Path(path) => return Ok(Placed::Path(path.clone())),
            ValueSource::Expression(code) => ComputedForm::Expression(self.expression(code)?),
            ValueSource::Template(parts) => self.template(parts)?,
        };
        let is_needed = is_needed && matches!(form, ComputedForm::Template(_));
        self.computed.push(Computed { form, is_needed, is_read: false });
        Ok(Placed::Computed(self.computed.len() - 1))
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
        let traced = Tracer::new(&self.shape, &self.listed).trace(path)?;
        let read = match traced {
            Traced::Kind => Read::Kind,
            Traced::Account => Read::Account,
            Traced::Region => Read::Region,
            Traced::Nothing => Read::Nothing,
            Traced::Whole => {
                self.note_item(Some("item"));
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
            [first, ..] if first == "__ExtraContext" => self.note_item(Some("item")),
            _ => {}
        }
    }

    /// Keeps all of the document.
    pub fn keep_all(&mut self) {
        self.kept = None;
        self.note_item(Some("item"));
    }

    fn candidate(&mut self, value: TracedValue) -> Result<Candidate, String> {
        Ok(match value {
            TracedValue::Member { path, form, option, skips_null } => {
                self.note_item(path.first().map(|name| name.text.as_str()));
                Candidate { place: Place::Slot(self.paths.add_named(&path)), form, option, skips_null }
            }
            TracedValue::Expression { code, option } => {
                let form = ComputedForm::Expression(self.expression(&code)?);
                self.computed.push(Computed { form, is_needed: false, is_read: true });
                Candidate::computed(self.computed.len() - 1, option)
            }
            TracedValue::Template(position) => Self::text(&self.set[position], &mut self.computed)?,
            TracedValue::ContextTemplate(position) => Self::text(&self.extra[position], &mut self.computed)?,
        })
    }

    /// A text that is read from now on.
    fn text(placed: &Placed, computed: &mut [Computed]) -> Result<Candidate, String> {
        let Placed::Computed(position) = placed else { return Err("a text has no path".to_owned()) };
        computed[*position].is_read = true;
        Ok(Candidate::computed(*position, None))
    }

    fn expression(&mut self, code: &SourceExpression) -> Result<Expression, String> {
        let parsed =
            Expression::parse(&code.text).ok_or_else(|| format!("`{}` needs a whole JQ", code.text))?;
        for path in parsed.paths() {
            self.note_item(path.first().map(String::as_str));
        }
        Ok(parsed.place(&mut self.paths))
    }

    fn template(&mut self, parts: &[TemplatePart]) -> Result<ComputedForm, String> {
        let mut placed = Vec::new();
        for part in parts {
            placed.push(match part {
                TemplatePart::Path(path, name) => {
                    self.note_item(path.first().map(String::as_str));
                    PlacedPart::Slot(self.paths.add(path), name.clone())
                }
                TemplatePart::Expression(code, name) => {
                    PlacedPart::Expression(self.expression(code)?, name.clone())
                }
                part => PlacedPart::Text(part.clone()),
            });
        }
        Ok(ComputedForm::Template(placed))
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
                State::Text(text) => return Err(misplaced(text, "an object")),
                State::Missing | State::Blocked => return Err(misplaced("null", "an object")),
            }
        }
        let mut made = Made::default();
        for computed in &self.computed {
            if !computed.is_needed && !computed.is_read {
                made.computed.push(None);
                continue;
            }
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
            _ => return Err(misplaced(&value, "an object")),
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
