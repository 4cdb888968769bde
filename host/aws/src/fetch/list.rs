//! Lists: reads their pages one after the other, for every parent.

use std::{mem, sync::Arc};

use berth_aws_protocol::{Page, PageCursor, Repairs};
use berth_core::{ErrorClass, FetchError, ItemFailure, Problem, ProblemCode, Region, Scope};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use serde_json::{Map, Value};

use super::{
    budget::MemoryPermit,
    item::Item,
    plan::{ErrorAction, Plan, ReadyStep, is_refusal},
    reader::UnitReader,
    resource::{Chunk, Listed, RegionStop, Resource},
};
use crate::{
    client::{RegionalSession, decode, decode_page},
    errors::{CallError, PLAN_AT_FAULT},
};

/// The remaining pages of one list.
struct ListCursor {
    reader: Arc<UnitReader>,
    level: usize,
    parent: Option<Arc<Resource>>,
    /// The items that the listed items descend from.
    descent: Arc<Value>,
    next: Next,
    pages: PageCursor,
}

/// The next request of a list.
enum Next {
    First,
    /// The page for this input.
    Page(Value),
    Done,
}

/// One page of a list.
struct ListPage {
    items: Vec<Item>,
    /// The input for the next page.
    next: Option<Value>,
    permit: MemoryPermit,
}

/// What happens after a page could not be read.
enum AfterError {
    /// This page replaces it.
    Instead(ListPage),
    /// There is nothing to list.
    Nothing,
    /// The list cannot be read; `refused`: because access is denied.
    GiveUp { problem: Problem, refused: bool },
}

impl UnitReader {
    /// Streams the items of a list step, with the items of the steps above it as parents.
    pub(super) fn list(self: Arc<Self>, level: usize) -> BoxStream<'static, Result<Listed, RegionStop>> {
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

    /// Streams the items of a list step that are parents, with their own enrichments.
    fn list_enriched(self: Arc<Self>, level: usize) -> BoxStream<'static, Result<Listed, RegionStop>> {
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

    /// Streams the pages of one list call (and of the steps after it) for one parent, or for none.
    fn pages(
        self: Arc<Self>,
        level: usize,
        parent: Option<Arc<Resource>>,
    ) -> BoxStream<'static, Result<Listed, RegionStop>> {
        let descent = parents_of_children(&self.plan, level, parent.as_deref());
        let pages = self.client.pages();
        let start = ListCursor { reader: self, level, parent, descent, next: Next::First, pages };
        stream::try_unfold(start, ListCursor::advance).boxed()
    }

    /// Reads one page of a list.
    async fn page_of(
        &self,
        ready: &ReadyStep,
        target: &RegionalSession,
        mut input: Value,
        pages: &mut PageCursor,
    ) -> Result<ListPage, CallError> {
        let pending = self.budget.request(ready.operation.to_string()).await;
        let answer = self.answer(target, ready, &input).await?;
        let permit = pending.answered(answer.body.len()).await;
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
        let items = items.into_iter().map(Item::new).collect();
        Ok(ListPage { items, next: more.then_some(input), permit })
    }

    /// Returns the items that the step's `only` selects. Without a value to compare with, the selection is
    /// unknown, which is an error.
    fn chosen(
        &self,
        ready: &ReadyStep,
        parent: Option<&Resource>,
        mut items: Vec<Item>,
    ) -> Result<Vec<Item>, Problem> {
        let Some((path, is)) = &ready.only else { return Ok(items) };
        let wanted = is.render(&self.bindings_of(parent)).filter(|value| *value != "").ok_or_else(|| {
            Problem::new(
                ProblemCode::PluginPlan,
                format!("step `{}`, `only`: its placeholder has no value", ready.step.id),
            )
            .remedy(PLAN_AT_FAULT)
        })?;
        items.retain(|item| path.all(item.value()).contains(&&wanted));
        Ok(items)
    }
}

impl ListCursor {
    /// Reads the next page.
    async fn advance(mut self) -> Result<Option<(Listed, Self)>, RegionStop> {
        let reader = self.reader.clone();
        let ready = &reader.plan.lists[self.level].step;
        let first = matches!(self.next, Next::First);
        let (target, input) =
            match (mem::replace(&mut self.next, Next::Done), reader.request(ready, self.parent.as_deref())) {
                (Next::Done, _) => return Ok(None),
                (_, Err(problem)) => return self.give_up(problem, false),
                (Next::First, Ok(request)) => request,
                (Next::Page(input), Ok((target, _))) => (target, input),
            };
        let page = match reader.page_of(ready, &target, input, &mut self.pages).await {
            Ok(page) => page,
            Err(error) => match self.after_error(ready, &target.region, &error, first)? {
                AfterError::Instead(page) => page,
                AfterError::Nothing => return Ok(None),
                AfterError::GiveUp { problem, refused } => return self.give_up(problem, refused),
            },
        };
        if self.parent.is_some() {
            reader.progress.read(1);
        }
        let ListPage { items, next, permit } = page;
        let items = match reader.chosen(ready, self.parent.as_deref(), items) {
            Ok(items) => items,
            Err(problem) => return self.give_up(problem, false),
        };
        let resources = self.resources(items, permit);
        self.next = next.map_or(Next::Done, Next::Page);
        Ok(Some((Listed::Items(resources), self)))
    }

    /// Decides according to the plan how to handle a page that could not be read.
    ///
    /// # Errors
    /// [`RegionStop`] if the unit ends here.
    fn after_error(
        &self,
        ready: &ReadyStep,
        region: &Region,
        error: &CallError,
        first: bool,
    ) -> Result<AfterError, RegionStop> {
        let (reader, is_root) = (&self.reader, self.parent.is_none());
        let problem = || reader.problem(ready, region, error);
        Ok(match ready.error_action(error) {
            // Earlier pages had items: only the first page can report an empty list.
            ErrorAction::Absent | ErrorAction::Drop | ErrorAction::Use(_) if !first => {
                AfterError::GiveUp { problem: problem(), refused: is_refusal(error) }
            }
            ErrorAction::Absent | ErrorAction::Drop => {
                if reader.scope == Scope::Organization && is_root && error.class() == ErrorClass::Denied {
                    let error = FetchError::Skipped(problem());
                    return Err(RegionStop { error, elsewhere: true, empty: true });
                }
                AfterError::Nothing
            }
            ErrorAction::Use(mut value) => {
                let items = take_items(ready, &mut value).into_iter().map(Item::from).collect();
                AfterError::Instead(ListPage { items, next: None, permit: reader.budget.reserve(0) })
            }
            ErrorAction::SkipUnit => {
                let elsewhere = first && is_root && is_refusal(error);
                return Err(RegionStop { error: FetchError::Skipped(problem()), elsewhere, empty: false });
            }
            // The manifest check rejects a list that is taken for unread: an unknown list is not an empty
            // one.
            ErrorAction::Fail | ErrorAction::Unread(_) => {
                AfterError::GiveUp { problem: problem(), refused: is_refusal(error) }
            }
        })
    }

    /// Ends the list: the root list fails the unit; a list of children fails its parent.
    fn give_up(mut self, problem: Problem, refused: bool) -> Result<Option<(Listed, Self)>, RegionStop> {
        let Some(parent) = &self.parent else { return Err(FetchError::Failed(problem).into()) };
        self.reader.progress.failed(&problem, refused);
        let failure = ItemFailure { resource: parent.item.label(), problem };
        self.next = Next::Done;
        Ok(Some((Listed::Failure(failure), self)))
    }

    /// Returns the items as resources, with the data of their parent.
    fn resources(&self, items: Vec<Item>, permit: MemoryPermit) -> Vec<Resource> {
        let parent = self.parent.as_ref();
        let steps = parent.map_or_else(|| Value::Object(Map::new()), |parent| parent.steps.clone());
        let unread = parent.map_or_else(Vec::new, |parent| parent.unread.clone());
        let permit = Arc::new(permit);
        let resource = |item| Resource {
            item,
            steps: steps.clone(),
            parents: self.descent.clone(),
            unread: unread.clone(),
            _permit: permit.clone(),
        };
        items.into_iter().map(resource).collect()
    }
}

fn take_items(ready: &ReadyStep, answer: &mut Value) -> Vec<Value> {
    match &ready.step.items {
        Some(path) => path.take_all(answer),
        None => Vec::new(),
    }
}

/// Returns the parents of the items of a list step: one value for all children of a parent.
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
