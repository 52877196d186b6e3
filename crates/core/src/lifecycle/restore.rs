//! Records that come out of a backup.

use crate::record::{Queued, Record, State};

/// The record as it goes on in another store, or in the same one at another time.
///
/// Whatever hints were sent for it, none is out now: it is hinted for anew when its timer finds it.
/// An attempt that ran at the time of the backup counts as lost when its lease is over; attempts
/// that its worker reports have the number of one that is known, or are stale.
pub fn restored(mut record: Record) -> Record {
    if let State::Queued(queued) = record.state {
        record.state = State::Queued(Queued { hint: None, ..queued });
    }
    record
}
