//! What every store must do, as tests to run against one. Not a part of the library's interface.
//!
//! A case panics if the store fails it. Each needs an empty store.

mod commits;
mod lists;
mod sample;
mod timers;

use futures::future::BoxFuture;

pub use self::{commits::*, lists::*, timers::*};
use crate::store::Store;

/// Calls a macro with the names of all cases.
#[macro_export]
macro_rules! for_each_conformance_case {
    ($macro:ident $(, $argument:tt)*) => {
        $macro! { $($argument)*;
            loads_what_was_committed
            refuses_to_create_twice
            refuses_a_stale_revision
            creates_again_after_a_removal
            takes_a_repeated_change_for_a_conflict
            writes_nothing_on_a_conflict
            answers_each_of_a_batch
            counts_every_increment_once
            keeps_large_records
            keeps_notes
            keeps_what_is_paused
            has_a_clock_that_goes_on
            is_ready
            lists_the_latest_first
            pages_through_equal_times
            pages_while_records_come_and_go
            moves_records_between_lists
            keeps_lists_apart
            lists_over_all_parents
            lists_nothing_of_nothing
            finds_what_is_due
            finds_a_moved_timer_at_its_new_time
            forgets_the_timer_of_a_removed_record
            counts_what_it_holds
            finds_expired_records
            finds_no_more_than_asked_for
            tells_how_long_until_the_next
            sweeps_over_all
        }
    };
}

/// A case.
pub type Case = for<'a> fn(&'a dyn Store) -> BoxFuture<'a, ()>;

macro_rules! table {
    (; $($case:ident)*) => {
        /// All cases with their names.
        pub const CASES: &[(&str, Case)] = &[$((stringify!($case), |store| Box::pin($case(store)))),*];
    };
}
for_each_conformance_case!(table);
