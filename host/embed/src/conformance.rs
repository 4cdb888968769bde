//! What every plugin promises, checked through the real engine on fixtures and on variants of them.
//!
//! - The plugin's own code makes the entities that the kind's default mapping makes in JQ, also when a
//!   member is missing or null, a text is hard to write, or AWS has added a member; and both refuse the
//!   same resources.
//! - The same batch gives the same entities; no entity of a fixture is made twice.
//! - Random numbers and clocks, which a plugin may have from WASI, change nothing of what it makes.
//! - Nothing that may stand in a resource crashes it. What has another type than AWS's models say may
//!   be refused, or passed on, by one of the two and not by the other: AWS does not send it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use berth_core::{
    Account, AccountId, Kind, KindManifest, MapContext, MapReport, MapRequest, MapperSnapshot, Mapping,
    Partition, Problem, RawPage, Region, Scope,
};
use serde_json::{Value, json};

/// The account that fixtures come from.
pub const FIXTURE_ACCOUNT: &str = "111122223333";
/// The region that fixtures come from, for regional kinds.
pub const FIXTURE_REGION: &str = "eu-west-1";

/// Members deeper than this are passed on as they are, and would only cost time.
const DEPTH: usize = 5;
/// Variants that are mapped with one call.
const BATCH: usize = 100;
/// Variants of one fixture. A large answer has more members than an author would wait for.
const VARIANTS: usize = 4_000;

/// A kind of a plugin, with what is needed to map fixtures of it.
pub struct Conformance {
    mapper: Arc<dyn MapperSnapshot>,
    kind: Arc<KindManifest>,
    /// Whether mappings can be evaluated in JQ.
    jq: bool,
}

/// Something that a plugin promises and does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Where: the fixture's resource, and what was changed in it.
    pub at: String,
    /// What is wrong.
    pub what: String,
}

/// What mapping costs, for one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// The time, in batches of [`resources`](Self::resources).
    pub time: Duration,
    /// How many resources a batch had.
    pub resources: usize,
    /// How many variants of the fixture were mapped.
    pub variants: usize,
}

impl Conformance {
    /// Checks a kind of a plugin. `jq` tells whether `mapper` can evaluate mappings in JQ.
    ///
    /// # Errors
    /// A [`Problem`] when `mapper` does not map the kind.
    pub fn of(mapper: Arc<dyn MapperSnapshot>, kind: &Kind, jq: bool) -> Result<Self, Problem> {
        let kinds = mapper.kinds();
        let entry = kinds.get(kind).ok_or_else(|| Problem::new(format!("no plugin maps {kind}")))?;
        Ok(Self { mapper, kind: Arc::clone(&entry.manifest), jq })
    }

    /// The resources of a fixture: a JSON array of them in the form that the host hands over, or a
    /// plain answer of AWS, in which the plan's `items` tells where they are.
    ///
    /// # Errors
    /// A [`Problem`] when the fixture is neither.
    pub fn resources(&self, fixture: &Value) -> Result<Vec<Value>, Problem> {
        match fixture {
            Value::Array(resources) => Ok(resources.clone()),
            Value::Object(answer) => {
                let items = self.kind.plan.resource_step().and_then(|step| step.items.as_ref());
                let items = items.ok_or_else(|| {
                    Problem::new("the plan has no list, so an answer of AWS is no fixture")
                        .remedy("write an array of resources, `[{\"item\": …}]`")
                })?;
                let found: Vec<Value> =
                    items.all(fixture).into_iter().map(|item| json!({ "item": item })).collect();
                // An empty page has the list, or what holds it, and nothing in it.
                let first = items.as_str().split(['.', '[']).next().unwrap_or_default();
                let is_page = matches!(fixture.get(first), Some(Value::Array(_) | Value::Object(_)));
                if found.is_empty() && !is_page {
                    let names: Vec<&str> = answer.keys().map(String::as_str).collect();
                    return Err(Problem::new(format!(
                        "there is nothing at `{}`; the answer has: {}",
                        items.as_str(),
                        names.join(", ")
                    )));
                }
                Ok(found)
            }
            _ => Err(Problem::new("a fixture is an array of resources, or an answer of AWS")),
        }
    }

    /// Maps resources by the plugin's own code.
    ///
    /// # Errors
    /// A [`Problem`] when the batch as a whole failed.
    pub async fn map(&self, resources: &[Value]) -> Result<MapReport, Problem> {
        self.run(&Batch::of(resources)?, Mapping::Native).await
    }

    /// Compares what is made of resources with what the same plugin makes of them in another engine: one
    /// whose plugins see other random numbers and clocks ([`Wasi::Variant`](crate::Wasi::Variant)).
    ///
    /// # Errors
    /// A [`Problem`] when the resources are no batch.
    pub async fn compare_with(
        &self,
        other: &Conformance,
        resources: &[Value],
    ) -> Result<Vec<Complaint>, Problem> {
        let batch = Batch::of(resources)?;
        let mut complaints = Vec::new();
        for (what, mapping) in [("entities", Mapping::Native), ("documents", Mapping::Documents)] {
            let made = [self, other].map(|conformance| conformance.run(&batch, mapping.clone()));
            let [ours, theirs] = made;
            let (ours, theirs) = (made_of(ours.await), made_of(theirs.await));
            let differences = crate::difference(&ours, &theirs);
            if !differences.is_empty() {
                let what =
                    format!("other random numbers and clocks give other {what}: {}", differences.join("; "));
                complaints.push(Complaint { at: "all resources".to_owned(), what });
            }
        }
        Ok(complaints)
    }

    /// Checks everything on a fixture's resources.
    ///
    /// # Errors
    /// A [`Problem`] when the fixture itself cannot be mapped at all.
    pub async fn check(&self, resources: &[Value]) -> Result<(Vec<Complaint>, Cost), Problem> {
        let mut complaints = Vec::new();
        let mut complain = |at: &str, what: String| complaints.push(Complaint { at: at.to_owned(), what });
        let whole = Batch::of(resources)?;
        let native = self.run(&whole, Mapping::Native).await?;
        if self.run(&whole, Mapping::Native).await? != native {
            complain(
                "all resources",
                "two runs give different entities; avoid hash maps with random seeds".into(),
            );
        }
        let mut keys = BTreeSet::new();
        for entity in native.entities.iter().filter(|entity| !keys.insert(&entity.key)) {
            complain("all resources", format!("the entity {} is made twice", entity.key));
        }
        if let Err(what) = self.alike(&whole, &native).await? {
            complain("all resources", what);
        }

        let all = || resources.iter().enumerate();
        let mut alike: Vec<_> = all().flat_map(|(index, resource)| variants(index, resource)).collect();
        alike.truncate(VARIANTS);
        for batch in alike.chunks(BATCH) {
            self.check_alike(batch, &mut complain).await?;
        }
        let mut odd: Vec<_> = all().flat_map(|(index, resource)| odd_variants(index, resource)).collect();
        odd.truncate(VARIANTS);
        for batch in odd.chunks(BATCH) {
            self.check_survives(batch, &mut complain).await?;
        }
        let count = alike.len() + odd.len();
        let cost = self.cost(resources, count).await?;
        Ok((complaints, cost))
    }

    /// Checks variants that the plugin's code and the default mapping must treat alike.
    async fn check_alike(
        &self,
        variants: &[Variant],
        complain: &mut impl FnMut(&str, String),
    ) -> Result<(), Problem> {
        let batch = Batch::of(variants.iter().map(|(_, resource)| resource))?;
        let whole = match self.run(&batch, Mapping::Native).await {
            Ok(native) => self.alike(&batch, &native).await?.is_ok() && native.errors.is_empty(),
            Err(_) => false,
        };
        if whole {
            return Ok(());
        }
        // Something is wrong with one of them, or one was refused, which may be a crash: which?
        for (at, resource) in variants {
            let one = Batch::of([resource])?;
            match self.run(&one, Mapping::Native).await {
                Err(problem) => complain(at, problem.message),
                Ok(native) => {
                    if let Err(what) = self.alike(&one, &native).await? {
                        complain(at, what);
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks variants that may be refused, but must crash neither the plugin's code nor its documents.
    async fn check_survives(
        &self,
        variants: &[Variant],
        complain: &mut impl FnMut(&str, String),
    ) -> Result<(), Problem> {
        let batch = Batch::of(variants.iter().map(|(_, resource)| resource))?;
        let by_jq = self.kind.mapping.clone().filter(|_| self.jq);
        let by_jq = by_jq.map(|mapping| Mapping::Custom(Arc::new(mapping)));
        for mapping in [Some(Mapping::Native), by_jq].into_iter().flatten() {
            let suspects: Vec<usize> = match self.run(&batch, mapping.clone()).await {
                Ok(report) => report.errors.iter().map(|error| error.index).collect(),
                Err(_) => (0..variants.len()).collect(),
            };
            for (at, resource) in suspects.into_iter().filter_map(|index| variants.get(index)) {
                // A crash of one resource is its error in a batch, and the batch's where it is alone.
                if let Err(problem) = self.run(&Batch::of([resource])?, mapping.clone()).await {
                    complain(at, problem.message);
                }
            }
        }
        Ok(())
    }

    /// Compares the native entities with those of the default mapping in JQ.
    async fn alike(&self, batch: &Batch, native: &MapReport) -> Result<Result<(), String>, Problem> {
        let (Some(mapping), true) = (&self.kind.mapping, self.jq) else { return Ok(Ok(())) };
        let by_jq = self.run(batch, Mapping::Custom(Arc::new(mapping.clone()))).await?;
        let refused =
            |report: &MapReport| report.errors.iter().map(|error| error.index).collect::<BTreeSet<_>>();
        if refused(native) != refused(&by_jq) {
            let first = native.errors.first().or(by_jq.errors.first());
            return Ok(Err(format!(
                "the plugin's code and its default mapping refuse different resources ({})",
                first.map_or_else(String::new, |error| format!("{}: {}", error.resource, error.reason))
            )));
        }
        let pairs = native.entities.iter().zip(&by_jq.entities);
        for (ours, theirs) in pairs.filter(|(ours, theirs)| ours != theirs) {
            // Numbers may be written in different ways.
            let differences = crate::difference(&json!(theirs), &json!(ours));
            if !differences.is_empty() {
                return Ok(Err(format!(
                    "the default mapping in JQ (left) and the plugin's code (right) differ: {}",
                    differences.join("; ")
                )));
            }
        }
        let (ours, theirs) = (&native.entities, &by_jq.entities);
        let more = ours.iter().skip(theirs.len()).chain(theirs.iter().skip(ours.len())).next();
        if let Some(entity) = more {
            return Ok(Err(format!(
                "the plugin's code makes {} entities, its default mapping in JQ {} (first: {})",
                ours.len(),
                theirs.len(),
                entity.key
            )));
        }
        Ok(Ok(()))
    }

    /// Times batches of some hundred resources.
    async fn cost(&self, resources: &[Value], variants: usize) -> Result<Cost, Problem> {
        const ROUNDS: u32 = 5;
        let batch = Batch::of(resources.iter().cycle().take(BATCH.max(resources.len())))?;
        let mut time = Duration::MAX;
        for _ in 0..ROUNDS {
            let clock = Instant::now();
            self.run(&batch, Mapping::Native).await?;
            time = time.min(clock.elapsed());
        }
        let count = u32::try_from(batch.count).unwrap_or(u32::MAX).max(1);
        Ok(Cost { time: time / count, resources: batch.count, variants })
    }

    async fn run(&self, batch: &Batch, mapping: Mapping) -> Result<MapReport, Problem> {
        let account = AccountId::new(FIXTURE_ACCOUNT).map_err(|error| Problem::from_error(&error))?;
        let region = Region::new(FIXTURE_REGION).ok().filter(|_| self.kind.scope == Scope::Regional);
        let request = MapRequest {
            kind: self.kind.kind.clone(),
            context: MapContext {
                account: Arc::new(Account::unnamed(account, Partition::Aws)),
                region: region.clone(),
                options: Vec::new(),
            },
            mapping,
            documents: false,
            page: RawPage {
                region,
                resources: batch.bytes.clone(),
                count: batch.count,
                failures: Vec::new(),
                unread: Vec::new(),
                reservation: berth_core::Reservation::default(),
            },
        };
        self.mapper.map(request).await.map_err(berth_sync::map_problem)
    }
}

/// All that came of a batch, for comparison.
fn made_of(outcome: Result<MapReport, Problem>) -> Value {
    match outcome {
        Ok(report) => {
            let parse =
                |document: &berth_core::Document| serde_json::from_str(document.get()).unwrap_or_default();
            let documents: Vec<Value> = report.documents.iter().map(parse).collect();
            json!({"entities": report.entities, "documents": documents, "errors": report.errors})
        }
        Err(problem) => json!({"failure": problem.message}),
    }
}

/// Resources as the host hands them over.
struct Batch {
    bytes: Vec<u8>,
    count: usize,
}

impl Batch {
    fn of<'v>(resources: impl IntoIterator<Item = &'v Value>) -> Result<Self, Problem> {
        let resources: Vec<&Value> = resources.into_iter().collect();
        let bytes = serde_json::to_vec(&resources).map_err(|error| Problem::from_error(&error))?;
        Ok(Self { bytes, count: resources.len() })
    }
}

/// What was changed, and the resource.
type Variant = (String, Value);

/// A text that is hard to write: a zero, quotes, a backslash, and a character of four bytes.
const HARD_TEXT: &str = "\u{0}\"\\\u{10ffff}";

/// What AWS may send as well: each member in turn missing or null, each text hard to write, and a
/// member more.
fn variants(index: usize, resource: &Value) -> Vec<Variant> {
    let mut found = Vec::new();
    for place in members(resource) {
        let mut missing = resource.clone();
        remove(&mut missing, &place);
        found.push((told(index, &place, "missing"), missing));
        if is_part(&place) {
            continue;
        }
        found.push((told(index, &place, "null"), with(resource, &place, Value::Null)));
        if resource.pointer(&place).is_some_and(Value::is_string) {
            let hard = with(resource, &place, json!(HARD_TEXT));
            found.push((told(index, &place, "with text that is hard to write"), hard));
        }
    }
    let mut more = resource.clone();
    if let Some(item) = more["item"].as_object_mut() {
        item.insert("BerthUnknownMember".into(), json!({"a": [1, null, "\u{2028}"]}));
        found.push((format!("resource {index} with a member that AWS may add"), more));
    }
    found
}

/// What AWS does not send: each member in turn of another type.
fn odd_variants(index: usize, resource: &Value) -> Vec<Variant> {
    let odd = [
        ("with a text", json!(HARD_TEXT)),
        ("with a number", json!(-1.5e300)),
        ("with a list", json!([[]])),
        ("with an object", json!({"": {}})),
    ];
    let places = members(resource).into_iter().filter(|place| !is_part(place));
    let of_place = |place: String| {
        odd.each_ref().map(|(how, other)| (told(index, &place, how), with(resource, &place, other.clone())))
    };
    places.flat_map(of_place).collect()
}

/// Whether a place is a part of the resource itself (`item`, `steps`, `parents`), which is never null.
fn is_part(place: &str) -> bool {
    place.matches('/').count() == 1
}

fn told(index: usize, place: &str, how: &str) -> String {
    format!("resource {index}, `{}` {how}", place.trim_start_matches('/').replace('/', "."))
}

/// The members of all objects in a value, as JSON pointers.
fn members(value: &Value) -> Vec<String> {
    fn collect(value: &Value, place: &str, found: &mut Vec<String>) {
        if place.matches('/').count() == DEPTH {
            return;
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                    collect(member, &place, found);
                    found.push(place);
                }
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    collect(element, &format!("{place}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(value, "", &mut found);
    found
}

fn remove(value: &mut Value, place: &str) {
    if let Some((parent, name)) = place.rsplit_once('/')
        && let Some(Value::Object(members)) = value.pointer_mut(parent)
    {
        members.shift_remove(&name.replace("~1", "/").replace("~0", "~"));
    }
}

fn with(value: &Value, place: &str, other: Value) -> Value {
    let mut value = value.clone();
    if let Some(at) = value.pointer_mut(place) {
        *at = other;
    }
    value
}
