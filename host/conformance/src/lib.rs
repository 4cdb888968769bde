//! Checks what every plugin must guarantee, with the real engine, on fixtures and on variants of them.
//!
//! - The plugin's own code and the kind's default mapping in JQ create the same entities, even if a member is
//!   missing or null, a text is hard to write, or AWS has added a member; and both refuse the same resources.
//! - The same batch gives the same entities; no entity of a fixture is created twice.
//! - Random numbers and clocks, which a plugin may get from WASI, do not affect its output.
//! - A resource is refused because of a missing member only if its identifier needs that member.
//! - Without the response of a step that may be denied, a document differs only in what the step
//!   [fills](berth_core::Step::fills).
//! - No possible resource crashes it. The code and the mapping may differ on members whose type violates
//!   AWS's models, by refusing them or passing them on: AWS does not send them.

mod difference;
mod variants;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use berth_core::{
    Account, AccountId, Document, Kind, KindManifest, KindReads, MapContext, MapReport, MapRequest,
    MapperSnapshot, Mapping, Partition, Problem, ProblemCode, RawPage, Region, ResourceConfig, Scope, Step,
};
use serde_json::{Value, json};

use difference::difference;
use variants::{DEPTH, Variant, members, members_that_differ, odd_variants, variants};

/// The account of fixtures.
pub const FIXTURE_ACCOUNT: &str = "111122223333";
/// The region of fixtures, for regional kinds.
pub const FIXTURE_REGION: &str = "eu-west-1";

/// Variants to map with one call.
const BATCH: usize = 100;
/// The most variants of one fixture. A large response has more members than an author would wait for.
const VARIANTS: usize = 4_000;

/// A kind of a plugin, and what is needed to map its fixtures.
pub struct Conformance {
    mapper: Arc<dyn MapperSnapshot>,
    kind: Arc<KindManifest>,
    context: MapContext,
    /// Whether mappings can be evaluated in JQ.
    jq: bool,
}

/// A guarantee that a plugin violates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The fixture's resource, and what was changed in it.
    pub at: String,
    /// What is wrong.
    pub what: String,
}

/// The cost of mapping one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// The time, in batches of [`resources`](Self::resources).
    pub time: Duration,
    /// The number of resources in a batch.
    pub resources: usize,
    /// The number of mapped variants of the fixture.
    pub variants: usize,
}

impl Conformance {
    /// Prepares the checks of a plugin's kind. `jq` says whether `mapper` can evaluate mappings in JQ.
    ///
    /// # Errors
    /// A [`Problem`] if `mapper` does not map the kind.
    pub fn of(mapper: Arc<dyn MapperSnapshot>, kind: &Kind, jq: bool) -> Result<Self, Problem> {
        let kinds = mapper.kinds();
        let entry = kinds
            .get(kind)
            .ok_or_else(|| Problem::new(ProblemCode::PluginMissing, format!("no plugin maps {kind}")))?;
        let kind = Arc::clone(&entry.manifest);
        let account = AccountId::new(FIXTURE_ACCOUNT)
            .map_err(|error| Problem::from_error(ProblemCode::Internal, &error))?;
        let context = MapContext {
            account: Arc::new(Account::unnamed(account, Partition::Aws)),
            region: Region::new(FIXTURE_REGION).ok().filter(|_| kind.scope == Scope::Regional),
            options: Vec::new(),
        };
        Ok(Self { mapper, kind, context, jq })
    }

    /// Maps in another place or with options, instead of in [`FIXTURE_ACCOUNT`] and [`FIXTURE_REGION`]
    /// without options.
    #[must_use]
    pub fn within(self, context: MapContext) -> Self {
        Self { context, ..self }
    }

    /// Returns the resources of a fixture: a JSON array in the host's format, or a plain AWS response, where
    /// the plan's `items` says where they are.
    ///
    /// # Errors
    /// A [`Problem`] if the fixture is neither.
    pub fn resources(&self, fixture: &Value) -> Result<Vec<Value>, Problem> {
        match fixture {
            Value::Array(resources) => Ok(resources.clone()),
            Value::Object(answer) => {
                let items = self.kind.plan().resource_step().and_then(|step| step.items.as_ref());
                let items = items.ok_or_else(|| {
                    Problem::new(
                        ProblemCode::PluginInvalid,
                        "the plan has no list, so an AWS response is not a valid fixture",
                    )
                    .remedy("write an array of resources, `[{\"item\": …}]`")
                })?;
                let found: Vec<Value> =
                    items.all(fixture).into_iter().map(|item| json!({ "item": item })).collect();
                // An empty page has the list, or its parent, without elements.
                let first = items.as_str().split(['.', '[']).next().unwrap_or_default();
                let is_page = matches!(fixture.get(first), Some(Value::Array(_) | Value::Object(_)));
                if found.is_empty() && !is_page {
                    let names: Vec<&str> = answer.keys().map(String::as_str).collect();
                    return Err(Problem::new(
                        ProblemCode::PluginInvalid,
                        format!(
                            "there is nothing at `{}`; the response has: {}",
                            items.as_str(),
                            names.join(", ")
                        ),
                    ));
                }
                Ok(found)
            }
            _ => Err(Problem::new(
                ProblemCode::PluginInvalid,
                "a fixture is an array of resources, or an AWS response",
            )),
        }
    }

    /// Returns the plugin's whole output for resources, as in golden files: `entities` and `errors` of the
    /// plugin's own code, and the `documents` that JQ mappings read.
    ///
    /// # Errors
    /// A [`Problem`] if the batch as a whole failed.
    pub async fn golden(&self, resources: &[Value]) -> Result<Value, Problem> {
        let batch = Batch::of(resources)?;
        let MapReport { entities, errors, .. } = self.run(&batch, Mapping::Native).await?;
        Ok(json!({"entities": entities, "documents": self.documents(&batch).await?, "errors": errors}))
    }

    /// Returns how the output for resources differs from a golden file. A file without `documents` does not
    /// check them.
    pub fn differences(golden: &Value, made: &Value) -> Vec<String> {
        let mut made = made.clone();
        if golden.get("documents").is_none()
            && let Some(parts) = made.as_object_mut()
        {
            parts.shift_remove("documents");
        }
        difference(golden, &made)
    }

    /// Compares what is made of resources with what the same plugin makes of them in another engine: one
    /// whose plugins see other random numbers and clocks (`Wasi::Variant` of the engine).
    ///
    /// # Errors
    /// A [`Problem`] if the resources are not a valid batch.
    pub async fn compare_with(
        &self,
        other: &Conformance,
        resources: &[Value],
    ) -> Result<Vec<Violation>, Problem> {
        let batch = Batch::of(resources)?;
        let mut violations = Vec::new();
        for (what, mapping) in [("entities", Mapping::Native), ("documents", Mapping::Documents)] {
            let made = [self, other].map(|conformance| conformance.run(&batch, mapping.clone()));
            let [ours, theirs] = made;
            let (ours, theirs) = (made_of(ours.await), made_of(theirs.await));
            let differences = difference(&ours, &theirs);
            if !differences.is_empty() {
                let what =
                    format!("other random numbers and clocks give other {what}: {}", differences.join("; "));
                violations.push(Violation { at: "all resources".to_owned(), what });
            }
        }
        Ok(violations)
    }

    /// Runs all checks on a fixture's resources.
    ///
    /// # Errors
    /// A [`Problem`] if the fixture itself cannot be mapped.
    pub async fn check(&self, resources: &[Value]) -> Result<(Vec<Violation>, Cost), Problem> {
        let mut violations = Vec::new();
        let mut report = |at: &str, what: String| violations.push(Violation { at: at.to_owned(), what });
        let whole = Batch::of(resources)?;
        let native = self.run(&whole, Mapping::Native).await?;
        if self.run(&whole, Mapping::Native).await? != native {
            report(
                "all resources",
                "two runs give different entities; avoid hash maps with random seeds".into(),
            );
        }
        let mut keys = BTreeSet::new();
        for entity in native.entities.iter().filter(|entity| !keys.insert(&entity.key)) {
            report("all resources", format!("the entity {} is created twice", entity.key));
        }
        if let Err(what) = self.alike(&whole, &native).await? {
            report("all resources", what);
        }
        self.check_fills(resources, &mut report).await?;

        let all = || resources.iter().enumerate();
        let mut alike: Vec<_> = all().flat_map(|(index, resource)| variants(index, resource)).collect();
        alike.truncate(VARIANTS);
        for batch in alike.chunks(BATCH) {
            self.check_alike(resources, batch, &mut report).await?;
        }
        let mut odd: Vec<_> = all().flat_map(|(index, resource)| odd_variants(index, resource)).collect();
        odd.truncate(VARIANTS);
        for batch in odd.chunks(BATCH) {
            self.check_survives(batch, &mut report).await?;
        }
        let count = alike.len() + odd.len();
        let cost = self.cost(resources, count).await?;
        Ok((violations, cost))
    }

    /// Checks that, without a step that may be denied, a document differs only in what the step fills.
    async fn check_fills(
        &self,
        resources: &[Value],
        report: &mut impl FnMut(&str, String),
    ) -> Result<(), Problem> {
        let may_be_denied = |step: &&Step| step.errors.contains_key("denied");
        for step in self.kind.plan().steps.iter().filter(may_be_denied) {
            let mut unnamed = BTreeSet::new();
            for (index, resource) in resources.iter().enumerate() {
                let mut without = resource.clone();
                let steps = without["steps"].as_object_mut();
                if steps.and_then(|steps| steps.shift_remove(&step.id)).is_none() {
                    continue;
                }
                let with = self.documents(&Batch::of([resource])?).await?.into_iter().next();
                let without = self.documents(&Batch::of([&without])?).await?.into_iter().next();
                // A resource that cannot be read because of the step's own response has no document.
                let (Some(mut with), Some(mut without)) = (with, without) else { continue };
                unnamed.extend(members_that_differ(&with["Properties"], &without["Properties"]));
                with["Properties"].take();
                without["Properties"].take();
                if with != without {
                    let what = format!("the step `{}` fills more than `Properties`", step.id);
                    report(&format!("resource {index}"), what);
                }
            }
            unnamed.retain(|member| !step.fills.iter().flatten().any(|filled| filled == member));
            if !unnamed.is_empty() {
                let unnamed = unnamed.into_iter().collect::<Vec<_>>().join("`, `");
                report("all resources", format!("`fills` of the step `{}` lacks `{unnamed}`", step.id));
            }
        }
        Ok(())
    }

    /// Checks that a document is refused only because of what identifies the resource, if the reason names
    /// it. An ARN that no response has is made of other members.
    async fn check_refused(&self, whole: &Value, batch: &Batch) -> Result<Option<String>, Problem> {
        let mapping = self.kind.mapping.as_ref();
        let identifier = mapping.and_then(|mapping| mapping.port.entity.mappings.identifier.as_str());
        let Some(identifier) = identifier.map(str::to_lowercase) else { return Ok(None) };
        // What follows, such as conversion to a valid identifier of Port, needs nothing else.
        let source = identifier.split(" | ").next().unwrap_or_default();
        let is_arn = source.split('.').next_back() == Some("arn");
        let has_arn = || {
            let places = members(whole).into_iter().filter(|place| place.matches('/').count() < DEPTH);
            places.map(|place| place.to_lowercase()).any(|place| place.ends_with("/arn"))
        };
        let refused = self.run(batch, Mapping::Documents).await?.errors;
        Ok(refused.into_iter().find_map(|error| {
            let (member, _) = error.reason.strip_prefix("it has no `")?.split_once('`')?;
            // Without an item there is no identifier either; the host never sends that.
            let identifies =
                member == "item" || identifier.contains(&member.to_lowercase()) || (is_arn && !has_arn());
            (!identifies).then(|| {
                format!("it is refused, as {}; its identifier is made of {identifier}", error.reason)
            })
        }))
    }

    /// Checks variants that the plugin's code and the default mapping must handle in the same way.
    async fn check_alike(
        &self,
        resources: &[Value],
        variants: &[Variant],
        report: &mut impl FnMut(&str, String),
    ) -> Result<(), Problem> {
        let batch = Batch::of(variants.iter().map(|variant| &variant.resource))?;
        let whole = match self.run(&batch, Mapping::Native).await {
            Ok(native) => self.alike(&batch, &native).await?.is_ok() && native.errors.is_empty(),
            Err(_) => false,
        };
        if whole {
            return Ok(());
        }
        // One of them is wrong, or was refused, which may be a crash: which one?
        for Variant { at, of, is_missing, resource } in variants {
            let one = Batch::of([resource])?;
            match self.run(&one, Mapping::Native).await {
                Err(problem) => report(at, problem.message),
                Ok(native) => {
                    if let Err(what) = self.alike(&one, &native).await? {
                        report(at, what);
                    }
                    if *is_missing
                        && !native.errors.is_empty()
                        && let Some(whole) = resources.get(*of)
                        && let Some(what) = self.check_refused(whole, &one).await?
                    {
                        report(at, what);
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
        report: &mut impl FnMut(&str, String),
    ) -> Result<(), Problem> {
        let batch = Batch::of(variants.iter().map(|variant| &variant.resource))?;
        let by_jq = self.kind.mapping.clone().filter(|_| self.jq);
        let by_jq = by_jq.map(|mapping| Mapping::Custom(Arc::new(mapping)));
        for mapping in [Some(Mapping::Native), by_jq].into_iter().flatten() {
            let suspects: Vec<usize> = match self.run(&batch, mapping.clone()).await {
                Ok(report) => report.errors.iter().map(|error| error.index).collect(),
                Err(_) => (0..variants.len()).collect(),
            };
            for Variant { at, resource, .. } in suspects.into_iter().filter_map(|index| variants.get(index)) {
                // A crash of one resource is its error in a batch, but fails a batch of one.
                if let Err(problem) = self.run(&Batch::of([resource])?, mapping.clone()).await {
                    report(at, problem.message);
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
            let differences = difference(&json!(theirs), &json!(ours));
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
                "the plugin's code creates {} entities, its default mapping in JQ {} (first: {})",
                ours.len(),
                theirs.len(),
                entity.key
            )));
        }
        self.documents_alike(batch, mapping).await
    }

    /// Compares the documents that the plugin makes with those that its manifest declares: the JQ component reads
    /// resources by the declaration.
    async fn documents_alike(
        &self,
        batch: &Batch,
        mapping: &ResourceConfig,
    ) -> Result<Result<(), String>, Problem> {
        // Binding the document to a variable reads all of it.
        const WHOLE: &str = ". as $document | $document";
        if self.kind.document.is_none() {
            return Ok(Ok(()));
        }
        let mut whole = json!(mapping);
        whole["port"]["entity"]["mappings"]["properties"] = json!({"document": WHOLE});
        let whole = serde_json::from_value(whole).map_err(|error| {
            Problem::new(ProblemCode::Internal, format!("the default mapping cannot be changed: {error}"))
        })?;
        let declared = self.run(batch, Mapping::Custom(Arc::new(whole))).await?.entities;
        let made = self.documents(batch).await?;
        if declared.len() != made.len() {
            return Ok(Err(format!(
                "the plugin makes {} documents, and its manifest declares {}",
                made.len(),
                declared.len()
            )));
        }
        for (entity, made) in declared.iter().zip(&made) {
            let differences = difference(&entity.properties["document"], made);
            if !differences.is_empty() {
                return Ok(Err(format!(
                    "the document that the manifest declares (left) and the plugin's (right) differ: {}",
                    differences.join("; ")
                )));
            }
        }
        Ok(Ok(()))
    }

    /// Measures batches of a few hundred resources.
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

    async fn documents(&self, batch: &Batch) -> Result<Vec<Value>, Problem> {
        Ok(self.run(batch, Mapping::Documents).await?.documents.iter().map(parsed).collect())
    }

    async fn run(&self, batch: &Batch, mapping: Mapping) -> Result<MapReport, Problem> {
        let request = MapRequest {
            kind: self.kind.kind.clone(),
            context: self.context.clone(),
            mapping,
            documents: false,
            page: RawPage {
                region: self.context.region.clone(),
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

/// Returns the whole result of a batch, for comparison.
fn made_of(outcome: Result<MapReport, Problem>) -> Value {
    match outcome {
        Ok(report) => {
            let documents: Vec<Value> = report.documents.iter().map(parsed).collect();
            json!({"entities": report.entities, "documents": documents, "errors": report.errors})
        }
        Err(problem) => json!({"failure": problem.message}),
    }
}

fn parsed(document: &Document) -> Value {
    serde_json::from_str(document.get()).unwrap_or_default()
}

/// Resources in the host's format.
struct Batch {
    bytes: Vec<u8>,
    count: usize,
}

impl Batch {
    fn of<'v>(resources: impl IntoIterator<Item = &'v Value>) -> Result<Self, Problem> {
        let resources: Vec<&Value> = resources.into_iter().collect();
        let bytes = serde_json::to_vec(&resources)
            .map_err(|error| Problem::from_error(ProblemCode::Internal, &error))?;
        Ok(Self { bytes, count: resources.len() })
    }
}
