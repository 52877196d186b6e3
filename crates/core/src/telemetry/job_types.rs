//! Job types as an attribute: made once each, and so many at most, as clients name them.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use opentelemetry::KeyValue;

/// How many job types are told apart.
const MOST: usize = 100;
const NAME: &str = "longshore.job_type";

/// The attributes of the job types that were seen first.
#[derive(Default)]
pub(super) struct JobTypes(RwLock<HashMap<Arc<str>, KeyValue>>);

impl JobTypes {
    /// The attribute of a job type; one for all of them once there are too many. `first` is
    /// called with each attribute when it is made.
    pub(super) fn of(&self, job_type: &str, first: impl FnOnce(&KeyValue)) -> KeyValue {
        // Nothing panics while it holds the lock, and each change is complete by itself.
        let seen = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(attribute) = seen.get(job_type) {
            return attribute.clone();
        }
        if seen.len() >= MOST {
            return KeyValue::new(NAME, "_OTHER");
        }
        drop(seen);
        let name: Arc<str> = job_type.into();
        let attribute = KeyValue::new(NAME, Arc::clone(&name));
        let mut seen = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if seen.insert(name, attribute.clone()).is_none() {
            first(&attribute);
        }
        attribute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_no_more() {
        let types = JobTypes::default();
        let mut made = 0;
        for round in 0..2 {
            for number in 0..MOST * 2 {
                let attribute = types.of(&format!("type-{number}"), |_| made += 1);
                let told = attribute.value.as_str().into_owned();
                let expected =
                    if number < MOST { format!("type-{number}") } else { "_OTHER".to_owned() };
                assert_eq!(told, expected, "round {round}");
            }
        }
        assert_eq!(made, MOST);
    }
}
