//! `ListOperations`: pages of the operations of one parent or of many, newest first (AIP-158,
//! AIP-159, AIP-160).

use std::{collections::BTreeSet, time::Duration};

use longshore_core::{
    filter::{Filter, Plan},
    index::Index,
    names::{OperationId, Parent},
    record::Record,
    time::Time,
};
use longshore_proto::longrunning::{ListOperationsRequest, ListOperationsResponse, Operation};
use longshore_state::store::{self, Position, Store, Stored};
use prost::Message;
use tonic::Request;

use crate::{
    api::Api,
    errors::{Reason, Refusal},
    page::Tokens,
    reads::once_more,
    surface::{Method, Surface},
};

/// How many records a call looks at beyond the page's size, for a filter that few match.
const SCAN: usize = 1000;
/// How many records are read, and held in memory, at a time.
const BATCH: usize = 200;
/// How large a page may be in bytes: clients refuse more than 4 MiB unless told otherwise.
const MAX_BYTES: usize = 3 << 20;

impl Api {
    pub(crate) async fn list(
        &self,
        request: &Request<ListOperationsRequest>,
    ) -> Result<ListOperationsResponse, Refusal> {
        let asked = request.get_ref();
        let parent = Parent::parse_collection(&asked.name)
            .map_err(|error| Refusal::field(Reason::InvalidName, "name", error.to_string()))?;
        let surface = self.surfaces.of_call(request, Method::List, &parent)?;
        if asked.return_partial_success && !parent.is_wildcard() {
            let message = "a list of one parent never succeeds in part: `-` stands for any";
            return Err(Refusal::new(Reason::PartialSuccessUnsupported, message));
        }
        let size = page_size(asked.page_size, &surface)?;
        let filter = Filter::parse_with(&asked.filter, surface.filter_fields.as_ref())
            .map_err(|error| Refusal::field(Reason::InvalidFilter, "filter", error.to_string()))?;
        let store = self.ledger.store();
        let tokens = || Tokens::of_list(&self.seal_key, store, &parent, asked.filter.trim());
        let after = match &*asked.page_token {
            "" => None,
            token => Some(tokens().await?.position(token).ok_or_else(foreign_token)?),
        };

        let plan = filter.plan();
        let mut list = List {
            store,
            index: index(&parent, &plan),
            parent: &parent,
            filter: &filter,
            surface: &surface,
            oldest: plan.created_from,
            lost: asked.return_partial_success.then(BTreeSet::new),
        };
        let after = after.or_else(|| plan.created_to.and_then(behind));
        let page = list.page(after, size).await?;
        let next_page_token = match &page.next {
            Some(position) => tokens().await?.token(position),
            None => String::new(),
        };
        let lost = list.lost.into_iter().flatten();
        Ok(ListOperationsResponse {
            operations: page.operations,
            next_page_token,
            unreachable: lost.map(|partition| format!("partitions/{partition}")).collect(),
        })
    }
}

fn page_size(asked_for: i32, surface: &Surface) -> Result<usize, Refusal> {
    let size = match u32::try_from(asked_for) {
        Ok(0) => surface.default_page_size,
        Ok(size) => size.min(surface.max_page_size),
        Err(_) => {
            return Err(Refusal::field(
                Reason::InvalidRequest,
                "page_size",
                "must not be negative",
            ));
        }
    };
    Ok(usize::try_from(size).unwrap_or(usize::MAX))
}

fn foreign_token() -> Refusal {
    let rule = "must be the next_page_token of a call with the same name and filter";
    Refusal::field(Reason::InvalidPageToken, "page_token", rule)
}

/// The shortest list that has all that can match.
fn index(parent: &Parent, plan: &Plan) -> Index {
    match (&plan.works_on, plan.done) {
        (Some(resource), _) => Index::On(resource.as_str().into()),
        (None, Some(false)) if parent.is_wildcard() => Index::AllActive,
        (None, Some(false)) => Index::Active(parent.clone()),
        (None, Some(true) | None) if parent.is_wildcard() => Index::All,
        (None, Some(true) | None) => Index::In(parent.clone()),
    }
}

/// The place behind which all stands that was accepted up to a time, and nothing else.
fn behind(time: Time) -> Option<Position> {
    // Of all ids, the last in the order of lists.
    let id = OperationId::parse("-").ok()?;
    Some(Position { create_time: time + Duration::from_micros(1), id })
}

struct List<'a> {
    store: &'a dyn Store,
    index: Index,
    parent: &'a Parent,
    filter: &'a Filter,
    surface: &'a Surface,
    /// Nothing that was accepted before can match.
    oldest: Option<Time>,
    /// The partitions that could not be reached, if the list may do without them.
    lost: Option<BTreeSet<u16>>,
}

#[derive(Default)]
struct Page {
    operations: Vec<Operation>,
    bytes: usize,
    /// Where the next page begins; `None` at the list's end.
    next: Option<Position>,
}

impl List<'_> {
    /// The page behind a place. It is shorter than `size` if the list ends, if it becomes too
    /// large, or if too few of the records that a call may look at match.
    async fn page(&mut self, mut after: Option<Position>, size: usize) -> Result<Page, Refusal> {
        let mut page = Page::default();
        let mut budget = SCAN + size;
        // Records behind `after` that can't be read, so that nobody knows their place.
        let mut damaged = 0;
        let mut has_missed = false;
        loop {
            // One more than the page holds tells whether there is a next one. Where some did not
            // match more of them may not: then fewer calls of the store matter more than records
            // that are read in vain.
            let missing = size + 1 - page.operations.len();
            let wanted = if has_missed { BATCH } else { missing };
            let limit = wanted.min(BATCH).min(budget) + damaged;
            let entries = self.read(after.as_ref(), limit).await?;
            let is_end = entries.len() < limit;
            budget = budget.saturating_sub(entries.len());
            damaged = 0;
            for entry in entries {
                let Some(stored) = readable(entry) else {
                    damaged += 1;
                    continue;
                };
                damaged = 0;
                if self.oldest.is_some_and(|oldest| stored.record.create_time < oldest) {
                    return Ok(page);
                }
                if let Some(operation) = self.shown(&stored.record) {
                    let bytes = operation.encoded_len();
                    let is_full = page.operations.len() == size || page.bytes + bytes > MAX_BYTES;
                    if is_full && !page.operations.is_empty() {
                        page.next = after;
                        return Ok(page);
                    }
                    page.bytes += bytes;
                    page.operations.push(operation);
                } else {
                    has_missed = true;
                }
                after =
                    Some(Position { create_time: stored.record.create_time, id: stored.record.id });
            }
            if is_end {
                return Ok(page);
            }
            if budget == 0 {
                // Without a place to go on from the client would begin anew for ever.
                page.next = Some(after.ok_or_else(unreadable)?);
                return Ok(page);
            }
        }
    }

    async fn read(
        &mut self,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Result<Stored, store::Error>>, Refusal> {
        match &mut self.lost {
            None => {
                let list = async |_| Ok(self.store.list(&self.index, after, limit).await?);
                once_more(list).await
            }
            Some(lost) => Ok(self.store.list_reachable(&self.index, after, limit, lost).await?),
        }
    }

    /// The operation, if the client is to see it.
    fn shown(&self, record: &Record) -> Option<Operation> {
        if record.deleted || !self.parent.covers(&record.parent) {
            return None;
        }
        self.filter.matches(record).then(|| self.surface.operation(record))
    }
}

/// A damaged record must not hide the others.
fn readable(entry: Result<Stored, store::Error>) -> Option<Stored> {
    match entry {
        Ok(stored) => Some(stored),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "a list leaves out what can't be read");
            None
        }
    }
}

fn unreadable() -> Refusal {
    Refusal::new(Reason::RecordDamaged, "too many records of the list can't be read")
}
