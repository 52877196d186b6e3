//! The cases.

mod worker;

use crate::case::Case;

/// All there are.
pub fn all() -> Vec<Case> {
    [worker::cases()].into_iter().flatten().collect()
}
