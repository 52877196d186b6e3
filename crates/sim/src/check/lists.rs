//! Which lists a record stands in.

use std::collections::BTreeSet;

use longshore_core::{index::Index, record::Record};
use longshore_state::store::Change;

use super::{Legal, must};

/// A change moves the record into the lists in which it is to stand then, and out of all others.
pub(crate) fn changed(before: Option<&Record>, after: Option<&Record>, change: &Change) -> Legal {
    let Some(record) = after.or(before) else { return Ok(()) };
    must(change.create_time == record.create_time, "another place in lists")?;
    let (was, is) = (before.map_or_else(BTreeSet::new, of), after.map_or_else(BTreeSet::new, of));
    let named = |lists: &[Index]| lists.iter().map(name).collect::<BTreeSet<String>>();
    let added = named(&change.lists.add);
    let removed = named(&change.lists.remove);
    let so = added.iter().eq(is.difference(&was)) && removed.iter().eq(was.difference(&is));
    must(so, "it does not stand in the lists that it belongs to")
}

/// The names of the lists that a record belongs to.
fn of(record: &Record) -> BTreeSet<String> {
    let mut lists = BTreeSet::new();
    if record.deleted {
        return lists;
    }
    lists.extend(record.job.works_on.iter().map(|resource| format!("on {resource}")));
    let state = if record.is_done() { "ended" } else { "active" };
    lists.insert(format!("all {state}"));
    lists.insert(format!("{state} {}", record.parent.as_str()));
    lists
}

/// Whether a record is to be found in a list, kept or not.
pub(crate) fn is_in(index: &Index, record: &Record) -> bool {
    let lists = of(record);
    index.parts().iter().any(|part| lists.contains(&name(part)))
}

/// The name of a list that is kept; a change can name no other.
fn name(index: &Index) -> String {
    match index {
        Index::In(parent) => format!("in {}", parent.as_str()),
        Index::Active(parent) => format!("active {}", parent.as_str()),
        Index::Ended(parent) => format!("ended {}", parent.as_str()),
        Index::On(resource) => format!("on {resource}"),
        Index::All => "all".to_owned(),
        Index::AllActive => "all active".to_owned(),
        Index::AllEnded => "all ended".to_owned(),
    }
}
