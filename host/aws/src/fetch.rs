//! Runs a fetch plan: lists, fans out, enriches, and hands over batches.
//!
//! Reading goes on while a batch is mapped: one batch waits, two are being enriched, and the page
//! after them is being listed. Nothing else is held in memory.

pub(crate) mod budget;
mod enrich;
mod item;
mod plan;
mod progress;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use berth_aws_wire::{Page, PageCursor, Repairs};
use berth_core::{
    Account, AccountId, ErrorClass, FetchError, FetchRequest, ItemFailure, One, Problem, RawPage, Region,
    Reservation, Scope, TemplateScope, UnreadStep,
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, mpsc};
use tracing::Instrument;

use self::{
    budget::{Hold, Share},
    item::Item,
    plan::{Plan, Ready, Ruling, is_refusal},
    progress::Progress,
};
use crate::{
    Concurrency,
    client::{Client, SharedAnswer, Target, UnitCache, decode, decode_page},
    credentials::Session,
    errors::{AWS, CallError, PLAN_AT_FAULT, is_doubtful},
};

/// Batches that are enriched at once, so that the next is ready when one is handed over.
const CHUNKS_AT_ONCE: usize = 2;

/// Everything it takes to read a unit.
pub(crate) struct Fetch {
    pub(crate) client: Arc<Client>,
    /// Whom to read as: the account's session or, for what belongs to the organization, everyone
    /// who may know, in the order in which they are asked.
    pub(crate) through: Vec<(AccountId, Arc<Session>)>,
    pub(crate) request: FetchRequest,
    pub(crate) granted: Arc<BTreeSet<String>>,
    pub(crate) concurrency: Concurrency,
    /// The unit's part of the memory for what is not mapped yet.
    pub(crate) share: Arc<Share>,
    /// How long the unit may take.
    pub(crate) deadline: Duration,
}

/// Why reading a region stopped.
#[derive(Debug)]
struct Stop {
    error: FetchError,
    /// Whether another region or account may be tried: nothing was read yet, and this one denies access.
    elsewhere: bool,
    /// Whether there is nothing to read if no other account says otherwise.
    empty: bool,
}

impl From<FetchError> for Stop {
    fn from(error: FetchError) -> Self {
        Self { error, elsewhere: false, empty: false }
    }
}

/// What the reading task reports.
type Report = Option<Result<RawPage, FetchError>>;

/// Streams the batches of a unit. Reading starts with the first poll and stops when the stream is
/// dropped.
pub(crate) fn run(fetch: Fetch) -> BoxStream<'static, Result<RawPage, FetchError>> {
    if fetch.request.kind.scope == Scope::Account {
        return stream::iter([Ok(account_page(&fetch.request.account))]).boxed();
    }
    stream::once(async move {
        // Room for one batch: the reader is never further ahead than that.
        let (to, from) = mpsc::channel(1);
        let span = tracing::debug_span!(
            "fetch",
            account = %fetch.request.account.id,
            region = fetch.request.regions.first().map(Region::as_str),
            kind = %fetch.request.kind.kind
        );
        let task = tokio::spawn(read(fetch, to).instrument(span));
        stream::unfold(Some((from, AbortOnDrop(task))), |state| async move {
            let (mut from, task) = state?;
            match from.recv().await {
                Some(Some(Ok(page))) => Some((Ok(page), Some((from, task)))),
                Some(Some(Err(error))) => Some((Err(error), None)),
                Some(None) => None,
                // Without the final word the unit must not count as read.
                None => {
                    let problem =
                        Problem::new("the reader stopped without a word; this is a defect of Berth")
                            .remedy("nothing of it is deleted; report this, with the log");
                    Some((Err(FetchError::Failed(problem)), None))
                }
            }
        })
    })
    .flatten()
    .boxed()
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn account_page(account: &Account) -> RawPage {
    let resource = serde_json::json!([
        {"item": {"Id": account.id, "Name": account.name}, "steps": {}, "parents": {}}
    ]);
    RawPage {
        region: None,
        resources: resource.to_string().into_bytes(),
        count: 1,
        failures: Vec::new(),
        unread: Vec::new(),
        reservation: Reservation::default(),
    }
}

async fn read(fetch: Fetch, to: mpsc::Sender<Report>) {
    let report = match tokio::time::timeout(fetch.deadline, read_regions(&fetch, &to)).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Err(error)),
        Err(_) => Some(Err(FetchError::Failed(too_long(fetch.deadline)))),
    };
    // Nobody listens any more when the unit was given up.
    let _ = to.send(report).await;
}

fn too_long(deadline: Duration) -> Problem {
    Problem::new(format!("reading took longer than {} seconds and was stopped", deadline.as_secs_f64()))
        .remedy(
            "raise `unit_deadline_seconds` if the unit really is that large, or find out what slows it down",
        )
}

async fn read_regions(fetch: &Fetch, to: &mpsc::Sender<Report>) -> Result<(), FetchError> {
    let request = &fetch.request;
    let plan = Arc::new(Plan::compile(&request.kind, &request.options, &fetch.granted)?);
    // What is read after an event is asked for by name.
    if request.one.is_none() {
        plan.warn_of_page_sizes(&request.kind);
    }
    let scope = request.kind.scope;
    // Which account may read the organization does not depend on the region.
    let regions = if scope == Scope::Organization { request.regions.len().min(1) } else { usize::MAX };
    let (mut denied, mut empty) = (None, false);
    for through in &fetch.through {
        for region in request.regions.iter().take(regions) {
            let reader = Arc::new(Reader::new(fetch, through, region.clone(), plan.clone()));
            match reader.read(to).await {
                Ok(()) => return Ok(()),
                Err(stop) if stop.elsewhere && scope != Scope::Regional => {
                    tracing::debug!(account = %through.0, %region, error = %stop.error, "trying elsewhere");
                    if stop.empty {
                        empty = true;
                    } else {
                        denied.get_or_insert(stop.error);
                    }
                }
                Err(stop) => return Err(stop.error),
            }
        }
    }
    match denied {
        Some(error) => Err(error),
        None if empty => Ok(()),
        None => Err(FetchError::Skipped(
            Problem::new("no region is left to read in").remedy("check the selector's `regionPolicy`"),
        )),
    }
}

/// One resource (or parent) on its way.
#[derive(Debug)]
struct Resource {
    item: Item,
    /// Results of steps: an object.
    steps: Value,
    /// The items it descends from, by list step: an object.
    parents: Arc<Value>,
    /// Steps whose result is not known.
    unread: Vec<Arc<UnreadStep>>,
    /// The room of the page that it was listed in.
    _hold: Arc<Hold>,
}

impl Resource {
    /// Writes it as mappings get it.
    fn write(&self, to: &mut Vec<u8>) -> serde_json::Result<()> {
        to.extend_from_slice(br#"{"item":"#);
        to.extend_from_slice(self.item.json());
        to.extend_from_slice(br#","steps":"#);
        serde_json::to_writer(&mut *to, &self.steps)?;
        to.extend_from_slice(br#","parents":"#);
        serde_json::to_writer(&mut *to, &*self.parents)?;
        to.push(b'}');
        Ok(())
    }
}

/// What a list yields.
enum Listed {
    Items(Vec<Resource>),
    /// A parent whose children could not be listed.
    Failure(ItemFailure),
}

/// A batch before and after its enrichment.
struct Chunk {
    resources: Vec<Resource>,
    failures: Vec<ItemFailure>,
}

/// The pages of one list that are still to come.
struct Listing {
    reader: Arc<Reader>,
    parent: Option<Arc<Resource>>,
    next: Next,
    pages: PageCursor,
}

/// What is asked for next.
enum Next {
    First,
    /// The page that this input asks for.
    Page(Value),
    Done,
}

/// A list that cannot be read fails the unit; one of several fails its parent.
fn gave_up(
    reader: Arc<Reader>,
    parent: Option<Arc<Resource>>,
    problem: Problem,
    refused: bool,
) -> Result<Option<(Listed, Listing)>, Stop> {
    match &parent {
        None => Err(FetchError::Failed(problem).into()),
        Some(failed) => {
            reader.progress.failed(&problem, refused);
            let failure = ItemFailure { resource: failed.item.label(), problem };
            let pages = reader.client.pages();
            Ok(Some((Listed::Failure(failure), Listing { reader, parent, next: Next::Done, pages })))
        }
    }
}

/// Reads one unit in one region.
struct Reader {
    client: Arc<Client>,
    target: Target,
    plan: Arc<Plan>,
    scope: Scope,
    account: Value,
    region: Value,
    partition: Value,
    kind: Value,
    /// The one resource that is asked for, where it is not all of them.
    one: Option<One>,
    /// Whether nothing may come from an earlier answer.
    fresh: bool,
    concurrency: Concurrency,
    share: Arc<Share>,
    reads: Arc<UnitCache>,
    /// Bounds the enriching requests in flight.
    enriching: Semaphore,
    /// The steps of whose batches every item was refused.
    refused_batches: Mutex<HashSet<String>>,
    progress: Progress,
}

/// What the placeholders of a step's input stand for.
struct Bindings<'a> {
    reader: &'a Reader,
    item: Option<&'a Item>,
    items: Option<&'a Value>,
    parents: Option<&'a Value>,
    steps: Option<&'a Value>,
}

impl TemplateScope for Bindings<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "item" => self.item.map(Item::value),
            "items" => self.items,
            "parents" => self.parents,
            "steps" => self.steps,
            "account" => Some(&self.reader.account),
            "region" => Some(&self.reader.region),
            "partition" => Some(&self.reader.partition),
            "kind" => Some(&self.reader.kind),
            "resource" => self.reader.one.as_ref().map(|one| &one.resource),
            "event" => self.reader.one.as_ref().map(|one| &*one.event),
            _ => None,
        }
    }
}

impl Reader {
    fn new(fetch: &Fetch, through: &(AccountId, Arc<Session>), region: Region, plan: Arc<Plan>) -> Self {
        let account = &fetch.request.account;
        let (reading, session) = through.clone();
        Self {
            client: fetch.client.clone(),
            plan,
            scope: fetch.request.kind.scope,
            account: Value::from(account.id.as_str()),
            region: Value::from(region.as_str()),
            partition: Value::from(account.partition.as_str()),
            kind: Value::from(fetch.request.kind.kind.as_str()),
            one: fetch.request.one.clone(),
            // A resource that is asked for by an event changed since.
            fresh: fetch.request.fresh || fetch.request.one.is_some(),
            target: Target {
                account: reading,
                region,
                session,
                metrics: Some(fetch.client.counters.kind(&fetch.request.kind.kind)),
            },
            concurrency: fetch.concurrency,
            share: fetch.share.clone(),
            reads: Arc::default(),
            enriching: Semaphore::new(fetch.concurrency.enrichments.get()),
            refused_batches: Mutex::default(),
            progress: Progress::default(),
        }
    }

    async fn read(self: Arc<Self>, to: &mpsc::Sender<Report>) -> Result<(), Stop> {
        let last = self.plan.lists.len().saturating_sub(1);
        let listed = self.clone().list(last);
        let mut pages = chunked(listed, self.plan.chunk)
            .map_ok(|chunk| {
                let reader = self.clone();
                async move { reader.enrich(&reader.plan.lists[last], chunk).await }
            })
            .try_buffered(CHUNKS_AT_ONCE)
            .boxed();
        while let Some(chunk) = pages.try_next().await? {
            if chunk.resources.is_empty() && chunk.failures.is_empty() {
                continue;
            }
            for page in self.pages_of(chunk)? {
                if to.send(Some(Ok(page))).await.is_err() {
                    return Ok(());
                }
            }
        }
        match self.progress.all_refused() {
            Some(problem) => Err(FetchError::Skipped(problem).into()),
            None => Ok(()),
        }
    }

    /// A batch as pages: resources of which the same is not known are in the same one.
    fn pages_of(&self, chunk: Chunk) -> Result<Vec<RawPage>, FetchError> {
        let Chunk { resources, mut failures } = chunk;
        let mut groups: BTreeMap<Vec<String>, Vec<Resource>> = BTreeMap::new();
        for resource in resources {
            let mut steps: Vec<String> = resource.unread.iter().map(|unread| unread.step.clone()).collect();
            steps.sort_unstable();
            groups.entry(steps).or_default().push(resource);
        }
        if groups.is_empty() {
            groups.insert(Vec::new(), Vec::new());
        }
        groups.into_values().map(|resources| self.page(&resources, std::mem::take(&mut failures))).collect()
    }

    fn page(&self, together: &[Resource], failures: Vec<ItemFailure>) -> Result<RawPage, FetchError> {
        self.progress.read(together.len());
        let unread = together.first().map_or_else(Vec::new, |first| {
            first.unread.iter().map(|unread| UnreadStep::clone(unread)).collect()
        });
        // Without an item's steps and parents, which are short where there are any.
        let room = together.iter().map(|resource| resource.item.json().len() + 64).sum();
        let mut resources = Vec::with_capacity(room);
        resources.push(b'[');
        for (at, resource) in together.iter().enumerate() {
            if at > 0 {
                resources.push(b',');
            }
            resource
                .write(&mut resources)
                .map_err(|error| FetchError::Failed(Problem::from_error(&error)))?;
        }
        resources.push(b']');
        // Its own room is taken before that of the decoded resources is given back, so that the unit goes on.
        let reservation = Reservation::of(self.share.charge(resources.len()));
        Ok(RawPage {
            region: (self.scope == Scope::Regional).then(|| self.target.region.clone()),
            resources,
            count: together.len(),
            failures,
            unread,
            reservation,
        })
    }

    /// The items of a list step, with those of the steps above it as their parents.
    fn list(self: Arc<Self>, level: usize) -> BoxStream<'static, Result<Listed, Stop>> {
        let Some(above) = level.checked_sub(1) else {
            return self.pages(0, None);
        };
        let at_once = self.concurrency.parents.get();
        self.clone()
            .list_enriched(above)
            .map_ok(move |listed| {
                let reader = self.clone();
                match listed {
                    Listed::Items(parents) => stream::iter(parents)
                        .map(move |parent| reader.clone().pages(level, Some(Arc::new(parent))))
                        .flatten_unordered(at_once)
                        .boxed(),
                    failure @ Listed::Failure(_) => stream::iter([Ok(failure)]).boxed(),
                }
            })
            .try_flatten()
            .boxed()
    }

    /// The items of a list step that are parents, with their own enrichments.
    fn list_enriched(self: Arc<Self>, level: usize) -> BoxStream<'static, Result<Listed, Stop>> {
        let listed = self.clone().list(level);
        if self.plan.lists[level].stages.is_empty() {
            return listed;
        }
        listed
            .and_then(move |listed| {
                let reader = self.clone();
                async move {
                    let resources = match listed {
                        Listed::Items(resources) => resources,
                        failure @ Listed::Failure(_) => return Ok(vec![Ok(failure)]),
                    };
                    let chunk = Chunk { resources, failures: Vec::new() };
                    let chunk = reader.enrich(&reader.plan.lists[level], chunk).await?;
                    let failures = chunk.failures.into_iter().map(|failure| Ok(Listed::Failure(failure)));
                    Ok(failures.chain([Ok(Listed::Items(chunk.resources))]).collect())
                }
            })
            .map_ok(stream::iter)
            .try_flatten()
            .boxed()
    }

    /// The pages of one list call (and those after it) for one parent, or for none.
    fn pages(
        self: Arc<Self>,
        level: usize,
        parent: Option<Arc<Resource>>,
    ) -> BoxStream<'static, Result<Listed, Stop>> {
        let descent = parents_of_children(&self.plan, level, parent.as_deref());
        let pages = self.client.pages();
        let start = Listing { reader: self, parent, next: Next::First, pages };
        stream::try_unfold(start, move |mut listing| {
            let descent = descent.clone();
            async move {
                let reader = listing.reader.clone();
                let parent = listing.parent.clone();
                let ready = &reader.plan.lists[level].step;
                let first = matches!(listing.next, Next::First);
                let (target, input) = match (listing.next, reader.request(ready, parent.as_deref())) {
                    (Next::Done, _) => return Ok(None),
                    (_, Err(problem)) => return gave_up(reader, parent, problem, false),
                    (Next::First, Ok(request)) => request,
                    (Next::Page(input), Ok((target, _))) => (target, input),
                };
                let (items, next, hold) =
                    match reader.page_of(ready, &target, input, &mut listing.pages).await {
                        Ok(page) => page,
                        Err(error) => match ready.ruling(&error) {
                            // What was listed before is there: that there is nothing only the first page says.
                            Ruling::Absent | Ruling::Drop | Ruling::Use(_) if !first => {
                                let problem = reader.problem(ready, &target.region, &error);
                                return gave_up(reader, parent, problem, is_refusal(&error));
                            }
                            Ruling::Absent | Ruling::Drop => {
                                if reader.scope == Scope::Organization
                                    && parent.is_none()
                                    && error.class() == ErrorClass::Denied
                                {
                                    let problem = reader.problem(ready, &target.region, &error);
                                    let error = FetchError::Skipped(problem);
                                    return Err(Stop { error, elsewhere: true, empty: true });
                                }
                                return Ok(None);
                            }
                            Ruling::Use(mut value) => {
                                let items = take_items(ready, &mut value).into_iter().map(Item::from);
                                (items.collect(), None, reader.share.charge(0))
                            }
                            Ruling::SkipUnit => {
                                let elsewhere = first
                                    && parent.is_none()
                                    && (error.class() == ErrorClass::Denied || error.is_unavailable());
                                let error =
                                    FetchError::Skipped(reader.problem(ready, &target.region, &error));
                                return Err(Stop { error, elsewhere, empty: false });
                            }
                            // A manifest that calls a list unread is refused: what is not known is not empty.
                            Ruling::Fail | Ruling::Unread(_) => {
                                let problem = reader.problem(ready, &target.region, &error);
                                return gave_up(reader, parent, problem, is_refusal(&error));
                            }
                        },
                    };
                if parent.is_some() {
                    reader.progress.read(1);
                }
                let steps =
                    parent.as_ref().map_or_else(|| Value::Object(Map::new()), |parent| parent.steps.clone());
                let items = match reader.chosen(ready, parent.as_deref(), items) {
                    Ok(items) => items,
                    Err(problem) => return gave_up(reader, parent, problem, false),
                };
                let unread = parent.as_ref().map_or_else(Vec::new, |parent| parent.unread.clone());
                let hold = Arc::new(hold);
                let resources = items
                    .into_iter()
                    .map(|item| Resource {
                        item,
                        steps: steps.clone(),
                        parents: descent.clone(),
                        unread: unread.clone(),
                        _hold: hold.clone(),
                    })
                    .collect();
                let next = next.map_or(Next::Done, Next::Page);
                Ok(Some((Listed::Items(resources), Listing { next, ..listing })))
            }
        })
        .boxed()
    }

    /// One page of a list: its items, the input for the next page, and the room that it takes.
    async fn page_of(
        &self,
        ready: &Ready,
        target: &Target,
        mut input: Value,
        pages: &mut PageCursor,
    ) -> Result<(Vec<Item>, Option<Value>, Hold), CallError> {
        let asked = self.share.ask(ready.operation.to_string()).await;
        let answer = self.answer(target, ready, &input).await?;
        let hold = asked.answered(answer.body.len()).await;
        let Page { rest, items, .. } = match &ready.step.items {
            Some(path) => {
                let page = decode_page(&ready.operation, &answer, path)?;
                let empty = ready.step.empty.as_ref();
                ready.operation.check_listed(&page.rest, page.items.len(), path, empty)?;
                page
            }
            None => Page {
                rest: decode(&ready.operation, &answer)?,
                items: Vec::new(),
                repairs: Repairs::default(),
            },
        };
        let more = pages.advance(&ready.operation, &rest, &mut input)?;
        Ok((items.into_iter().map(Item::new).collect(), more.then_some(input), hold))
    }

    /// Asks, or takes what was answered to the same call before, unless the request wants fresh answers.
    async fn answer(&self, target: &Target, ready: &Ready, input: &Value) -> SharedAnswer {
        if self.fresh {
            return self.client.fresh_answer(target, &ready.operation, input).await;
        }
        self.client.answer(target, &ready.operation, input, Some(&self.reads)).await
    }

    /// The items that are what the step says by `only`. Without a value to compare with, nothing is
    /// known of any.
    fn chosen(
        &self,
        ready: &Ready,
        parent: Option<&Resource>,
        mut items: Vec<Item>,
    ) -> Result<Vec<Item>, Problem> {
        let Some((path, is)) = &ready.only else { return Ok(items) };
        let wanted = is.render(&self.bindings_of(parent)).filter(|value| *value != "").ok_or_else(|| {
            Problem::new(format!("step `{}`, `only`: its placeholder has no value", ready.step.id))
                .remedy(PLAN_AT_FAULT)
        })?;
        items.retain(|item| path.all(item.value()).contains(&&wanted));
        Ok(items)
    }

    fn bindings_of<'a>(&'a self, item: Option<&'a Resource>) -> Bindings<'a> {
        Bindings {
            reader: self,
            item: item.map(|resource| &resource.item),
            items: None,
            parents: item.map(|resource| &*resource.parents),
            steps: item.map(|resource| &resource.steps),
        }
    }

    /// Where to send a step's request for an item, and with what.
    fn request(&self, ready: &Ready, item: Option<&Resource>) -> Result<(Target, Value), Problem> {
        let bindings = self.bindings_of(item);
        Ok((self.target_of(ready, &bindings)?, render(ready, &bindings)))
    }

    fn target_of(&self, ready: &Ready, bindings: &Bindings<'_>) -> Result<Target, Problem> {
        let region = match ready.region.as_ref().and_then(|region| region.render(bindings)) {
            Some(Value::String(text)) if !text.is_empty() => Region::new(&text).map_err(|error| {
                Problem::new(format!("step `{}`, `region`: {error}", ready.step.id)).remedy(PLAN_AT_FAULT)
            })?,
            _ => return Ok(self.target.clone()),
        };
        Ok(Target { region, ..self.target.clone() })
    }

    /// Tells a failed call to a person.
    fn problem(&self, ready: &Ready, region: &Region, error: &CallError) -> Problem {
        let step = &ready.step;
        let account = &self.target.account;
        let place = format!("account {account}, region {region}");
        let call = format!("{}:{}", step.service, step.operation);
        let actions = crate::policy::actions(step);
        match error {
            CallError::Credentials(problem) => Problem {
                message: format!("no credentials for account {account}: {}", problem.message),
                remedy: problem.remedy.clone(),
            },
            _ if error.is_unavailable() => {
                Problem::new(format!("`{}` cannot be reached in {place}: {error}", step.service)).remedy(format!(
                    "if the service is not offered in {region}, exclude the region by the selector's `regionPolicy`; else check the name resolution of this machine"
                ))
            }
            CallError::Transport { error: silence, .. } => {
                Problem::new(format!("`{call}` failed in {place}: {error}")).remedy(silence.remedy(AWS))
            }
            // The session was renewed and the call repeated; the same keys work elsewhere.
            _ if error.code().is_some_and(is_doubtful) => {
                Problem::new(format!("AWS does not take the session's credentials for `{call}` in {place}: {error}"))
                    .remedy(format!(
                        "check that region {region} is enabled in account {account}; if it is opt-in, let STS issue \
                         session tokens that are valid in all regions, or exclude it by the selector's `regionPolicy`"
                    ))
            }
            _ if error.class() == ErrorClass::Denied => {
                Problem::new(format!("`{call}` is denied in {place}: {error}")).remedy(format!(
                    "allow `{}` for the role that reads account {account}, and check that no service control policy denies it and that region {region} is enabled",
                    actions.join("`, `")
                ))
            }
            _ if error.is_busy() => {
                Problem::new(format!("`{call}` was still refused after all repeats in {place}: {error}"))
                    .remedy("AWS is too busy or throttles this account; the next resync tries again")
            }
            _ => Problem::new(format!("`{call}` failed in {place}: {error}")).remedy(error.remedy()),
        }
    }
}

fn render(ready: &Ready, bindings: &Bindings<'_>) -> Value {
    ready.step.input.template().render(bindings).unwrap_or_else(|| Value::Object(Map::new()))
}

fn take_items(ready: &Ready, answer: &mut Value) -> Vec<Value> {
    match &ready.step.items {
        Some(path) => path.take_all(answer),
        None => Vec::new(),
    }
}

/// The parents that the items of a list step get: one value for all children of a parent.
fn parents_of_children(plan: &Plan, level: usize, parent: Option<&Resource>) -> Arc<Value> {
    let mut parents = Map::new();
    if let (Some(parent), Some(above)) = (parent, level.checked_sub(1)) {
        if let Value::Object(inherited) = &*parent.parents {
            parents.clone_from(inherited);
        }
        parents.insert(plan.lists[above].step.step.id.clone(), parent.item.value().clone());
    }
    Arc::new(Value::Object(parents))
}

/// Cuts a list into batches of `size`, whatever the size of AWS's pages.
fn chunked(
    listed: BoxStream<'static, Result<Listed, Stop>>,
    size: usize,
) -> impl futures::Stream<Item = Result<Chunk, Stop>> {
    struct State {
        listed: Option<BoxStream<'static, Result<Listed, Stop>>>,
        resources: std::collections::VecDeque<Resource>,
        failures: Vec<ItemFailure>,
    }
    let state = State { listed: Some(listed), resources: [].into(), failures: Vec::new() };
    stream::try_unfold(state, move |mut state| async move {
        while state.resources.len() < size
            && let Some(listed) = &mut state.listed
        {
            match listed.try_next().await? {
                Some(Listed::Items(items)) => state.resources.extend(items),
                Some(Listed::Failure(failure)) => state.failures.push(failure),
                None => state.listed = None,
            }
        }
        let many = size.min(state.resources.len());
        let chunk = Chunk {
            resources: state.resources.drain(..many).collect(),
            failures: std::mem::take(&mut state.failures),
        };
        let empty = chunk.resources.is_empty() && chunk.failures.is_empty();
        Ok((!empty).then_some((chunk, state)))
    })
}
