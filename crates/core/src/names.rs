//! Names of operations, their parents, job types and worker instances.
//!
//! Whatever comes from a client is parsed here once; all other code works on the parsed value.

use std::fmt;

use sha2::{Digest, Sha256};

/// The longest parent that is accepted, in bytes.
pub const MAX_PARENT: usize = 400;
/// The longest id that is accepted, in bytes.
pub const MAX_ID: usize = 63;

const COLLECTION: &str = "operations";
/// The segment that stands for any.
const WILDCARD: &str = "-";
/// Lower case and digits without those that people mix up.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Why a text is not the name that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not `operations/ID` or `PARENT/operations/ID`.
    #[error("must be `operations/ID` or `PARENT/operations/ID`")]
    NotAnOperation,
    /// The id has a character that ids don't have, or too many of them.
    #[error("the id must be 1 to 63 of the characters a-z, 0-9 and `-`")]
    Id,
    /// The parent is too long.
    #[error("the parent must be at most {MAX_PARENT} bytes")]
    ParentTooLong,
    /// A segment of the parent is empty, `.` or `..`, or has characters that names don't have.
    #[error(
        "each segment between slashes must be one or more of the characters A-Z, a-z, 0-9, `-`, `_`, `.`, `~`, `@`, `%`, `+`, `=`, `:` and be neither `.` nor `..`"
    )]
    Segment,
    /// A segment is `-`, which stands for any name in lists.
    #[error("no segment may be `-`: it stands for any name in lists")]
    Wildcard,
    /// It is not a job type.
    #[error("must be a letter and then at most 62 of the characters A-Z, a-z, 0-9, `-` and `_`")]
    JobType,
    /// It is not the name of a worker.
    #[error("must be 1 to 63 of the characters A-Z, a-z, 0-9, `-` and `_`")]
    Worker,
}

/// The id of an operation: unique over all parents, 1 to 63 of `[a-z0-9-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(Box<str>);

impl OperationId {
    /// Takes an id apart from a name.
    ///
    /// # Errors
    /// [`Error::Id`] if it has other characters, none, or too many.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || text.len() > MAX_ID || !text.bytes().all(legal) {
            return Err(Error::Id);
        }
        Ok(Self(text.into()))
    }

    /// Draws a new id: 120 random bits, a letter first (AIP-122).
    pub fn random() -> Self {
        let mut text = String::with_capacity(24);
        text.push(char::from(ALPHABET[fastrand::usize(..24)]));
        text.extend((1..24).map(|_| char::from(ALPHABET[fastrand::usize(..32)])));
        Self(text.into())
    }

    /// The id that a request with a `request_id` gets: the same for the same parent and request id.
    pub fn of_request(parent: &Parent, request_id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((parent.as_str().len() as u64).to_be_bytes());
        hash.update(parent.as_str());
        hash.update(request_id);
        let digest = hash.finalize();
        let mut text = String::with_capacity(32);
        text.push('r');
        text.extend(
            digest.iter().take(31).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])),
        );
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which of so many partitions the operation belongs to, the same for ever.
    pub fn partition(&self, partitions: u16) -> u16 {
        let hash = crc32fast::hash(self.0.as_bytes());
        // The remainder is below `partitions`, so it fits.
        (hash % u32::from(partitions.max(1))) as u16
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The resource that operations are named under; the root is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Parent(Box<str>);

impl Parent {
    /// Takes `a/b/c`, or nothing for the root.
    ///
    /// # Errors
    /// [`Error::ParentTooLong`] or [`Error::Segment`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_PARENT {
            return Err(Error::ParentTooLong);
        }
        if !text.is_empty() && !text.split('/').all(is_segment) {
            return Err(Error::Segment);
        }
        Ok(Self(text.into()))
    }

    /// Takes the parent of something new, in which no segment is `-`.
    ///
    /// # Errors
    /// As [`Parent::parse`], and [`Error::Wildcard`].
    pub fn parse_new(text: &str) -> Result<Self, Error> {
        let parent = Self::parse(text)?;
        if parent.is_wildcard() { Err(Error::Wildcard) } else { Ok(parent) }
    }

    /// Takes what `ListOperations` accepts: the parent, with or without `operations` behind it.
    ///
    /// # Errors
    /// As [`Parent::parse`].
    pub fn parse_collection(text: &str) -> Result<Self, Error> {
        match text.strip_suffix(COLLECTION) {
            Some("") => Ok(Self::default()),
            Some("/") => Err(Error::Segment),
            Some(rest) if rest.ends_with('/') => Self::parse(&rest[..rest.len() - 1]),
            _ => Self::parse(text),
        }
    }

    /// The parent as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a segment is `-`, so that it stands for many parents (AIP-159).
    pub fn is_wildcard(&self) -> bool {
        self.0.split('/').any(|segment| segment == WILDCARD)
    }

    /// Whether a client that asks for an operation under this parent may mean one under `actual`:
    /// the same parent, or the same with `operations` before it. Some of Google's clients can only
    /// ask for names that begin with `operations/`; as ids are unique, nothing else can be meant.
    pub fn means(&self, actual: &Self) -> bool {
        self == actual || self.without_prefix().is_some_and(|rest| rest == actual.as_str())
    }

    /// What stands behind a leading `operations`, if there is one.
    fn without_prefix(&self) -> Option<&str> {
        match self.0.strip_prefix(COLLECTION)? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        }
    }

    /// The parent that this one may stand for instead of itself; see [`Parent::means`].
    pub fn alias(&self) -> Option<Self> {
        self.without_prefix().map(|rest| Self(rest.into()))
    }

    /// Whether it is this parent, or one that it stands for.
    pub fn covers(&self, other: &Self) -> bool {
        self == other
            || self.is_wildcard()
                && self.0.split('/').count() == other.0.split('/').count()
                && self
                    .0
                    .split('/')
                    .zip(other.0.split('/'))
                    .all(|(mine, other)| mine == WILDCARD && !other.is_empty() || mine == other)
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_segment(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.~@%+=:".contains(&b);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(legal)
}

/// The name of an operation: `operations/ID` or `PARENT/operations/ID`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OperationName {
    /// What stands before `operations`.
    pub parent: Parent,
    /// What stands behind it.
    pub id: OperationId,
}

impl OperationName {
    /// Takes a name apart.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (collection, id) = text.rsplit_once('/').ok_or(Error::NotAnOperation)?;
        let parent = match collection.strip_suffix(COLLECTION) {
            Some("") => "",
            Some(rest) => rest.strip_suffix('/').ok_or(Error::NotAnOperation)?,
            None => return Err(Error::NotAnOperation),
        };
        if parent.is_empty() && collection != COLLECTION {
            return Err(Error::Segment);
        }
        Ok(Self { parent: Parent::parse(parent)?, id: OperationId::parse(id)? })
    }
}

impl fmt::Display for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parent.as_str().is_empty() {
            write!(f, "{COLLECTION}/{}", self.id)
        } else {
            write!(f, "{}/{COLLECTION}/{}", self.parent, self.id)
        }
    }
}

/// The kind of a job, which is also the name of the queue that its operations wait in.
///
/// It is one token of a NATS subject, so it has no dots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobType(Box<str>);

impl JobType {
    /// Takes a job type.
    ///
    /// # Errors
    /// [`Error::JobType`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if !starts_well || text.len() > 63 || !text.bytes().all(is_word) {
            return Err(Error::JobType);
        }
        Ok(Self(text.into()))
    }

    /// The job type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

/// One life of one worker: its name and a boot id, so that a restarted worker is another one.
///
/// As text it is `NAME.BOOT`; neither part has a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerInstance(Box<str>);

impl WorkerInstance {
    /// A new life of the worker `name`.
    ///
    /// # Errors
    /// [`Error::Worker`] if the name is not 1 to 63 of `[A-Za-z0-9_-]`.
    pub fn boot(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.len() > 63 || !name.bytes().all(is_word) {
            return Err(Error::Worker);
        }
        let boot: String = (0..8).map(|_| char::from(ALPHABET[fastrand::usize(..32)])).collect();
        Ok(Self(format!("{name}.{boot}").into()))
    }

    /// Takes what [`WorkerInstance::as_str`] gave.
    ///
    /// # Errors
    /// [`Error::Worker`] if it is something else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text.split_once('.') {
            Some((name, boot))
                if !name.is_empty()
                    && !boot.is_empty()
                    && text.len() <= 127
                    && name.bytes().chain(boot.bytes()).all(is_word) =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(Error::Worker),
        }
    }

    /// Name and boot id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The worker's name without the boot id.
    pub fn name(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl fmt::Display for WorkerInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (text, parent, id) in [
            ("operations/a", "", "a"),
            ("projects/p/operations/a-1", "projects/p", "a-1"),
            ("operations/projects/p/operations/a", "operations/projects/p", "a"),
            ("operations/operations/a", "operations", "a"),
            ("a.b/c_d/~@%+=:/operations/0", "a.b/c_d/~@%+=:", "0"),
        ] {
            let name = OperationName::parse(text).unwrap();
            assert_eq!((name.parent.as_str(), name.id.as_str()), (parent, id));
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long_parent = format!("{}/operations/a", "p".repeat(MAX_PARENT + 1));
        for (text, error) in [
            ("", Error::NotAnOperation),
            ("a", Error::NotAnOperation),
            ("projects/a", Error::NotAnOperation),
            ("xoperations/a", Error::NotAnOperation),
            ("operations/a/b", Error::NotAnOperation),
            ("operations/", Error::Id),
            ("operations/A", Error::Id),
            ("operations/a_b", Error::Id),
            ("/operations/a", Error::Segment),
            ("//operations/a", Error::Segment),
            ("p//q/operations/a", Error::Segment),
            ("p/../operations/a", Error::Segment),
            ("p{q}/operations/a", Error::Segment),
            (long_parent.as_str(), Error::ParentTooLong),
        ] {
            assert_eq!(OperationName::parse(text), Err(error), "{text}");
        }
        assert!(OperationId::parse(&"a".repeat(MAX_ID)).is_ok());
        assert_eq!(OperationId::parse(&"a".repeat(MAX_ID + 1)), Err(Error::Id));
    }

    #[test]
    fn a_collection_may_end_in_operations() {
        for (text, parent) in [
            ("", ""),
            ("operations", ""),
            ("projects/p", "projects/p"),
            ("projects/p/operations", "projects/p"),
            ("myoperations", "myoperations"),
        ] {
            assert_eq!(Parent::parse_collection(text).unwrap().as_str(), parent);
        }
        assert_eq!(Parent::parse_collection("/operations"), Err(Error::Segment));
        assert_eq!(Parent::parse_collection("p//operations"), Err(Error::Segment));
    }

    #[test]
    fn a_parent_may_stand_for_many() {
        let parent = |text: &str| Parent::parse(text).unwrap();
        for (pattern, covered, others) in [
            ("a/-", &["a/b", "a/-"][..], &["", "a", "b/b", "a/b/c"][..]),
            ("-/b/-/d", &["a/b/c/d"], &["a/b/c/e", "a/x/c/d"]),
            ("-", &["a"], &["", "a/b"]),
            ("a/b", &["a/b"], &["a/c"]),
            ("a/b-", &["a/b-"], &["a/bc"]),
            ("", &[""], &["a"]),
        ] {
            assert!(covered.iter().all(|text| parent(pattern).covers(&parent(text))), "{pattern}");
            assert!(!others.iter().any(|text| parent(pattern).covers(&parent(text))), "{pattern}");
        }
        assert_eq!(Parent::parse_new("a/-"), Err(Error::Wildcard));
        assert_eq!(Parent::parse_new("a/b-"), Ok(parent("a/b-")));
    }

    #[test]
    fn a_request_has_one_id() {
        let id = |parent: &str, request: &str| {
            OperationId::of_request(&Parent::parse(parent).unwrap(), request)
        };
        assert_eq!(id("p", "r"), id("p", "r"));
        assert_ne!(id("p", "r"), id("q", "r"));
        assert_ne!(id("p", "qr"), id("pq", "r"));
        assert_eq!(OperationId::parse(id("p", "r").as_str()), Ok(id("p", "r")));
    }

    #[test]
    fn a_leading_operations_may_be_passed_over() {
        let parent = |text: &str| Parent::parse(text).unwrap();
        assert!(parent("operations/projects/p").means(&parent("projects/p")));
        assert!(parent("operations").means(&parent("")));
        assert!(parent("operations/x").means(&parent("operations/x")));
        assert!(!parent("projects/p").means(&parent("operations/projects/p")));
        assert!(!parent("operationsx").means(&parent("x")));
        assert!(!parent("operations/q").means(&parent("projects/p")));
    }

    #[test]
    fn random_ids_are_ids_and_spread_over_partitions() {
        let mut hits = [0; 16];
        for _ in 0..16_000 {
            let id = OperationId::random();
            assert_eq!(OperationId::parse(id.as_str()).as_ref(), Ok(&id));
            hits[usize::from(id.partition(16))] += 1;
        }
        assert!(hits.iter().all(|hits| (700..1300).contains(hits)), "{hits:?}");
    }

    #[test]
    fn a_partition_never_changes() {
        assert_eq!(OperationId::parse("abc").unwrap().partition(16), 2);
        assert_eq!(OperationId::parse("abc").unwrap().partition(0), 0);
    }

    #[test]
    fn job_types_and_workers_are_tokens_of_a_subject() {
        assert!(JobType::parse("Hash-files_2").is_ok());
        for text in ["", "2x", "a.b", "a*", "a>", "a b", "-a", &"a".repeat(64)] {
            assert_eq!(JobType::parse(text), Err(Error::JobType), "{text}");
        }
        let worker = WorkerInstance::boot("crane-1").unwrap();
        assert_eq!(worker.name(), "crane-1");
        assert_ne!(worker, WorkerInstance::boot("crane-1").unwrap());
        assert_eq!(WorkerInstance::parse(worker.as_str()), Ok(worker));
        for text in ["", "a", "a.", ".b", "a.b.c", "a.*"] {
            assert_eq!(WorkerInstance::parse(text), Err(Error::Worker), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_accepted_is_written_as_it_was_read(text in "[a-z/.:]{0,12}(operations)?/?[a-zA-Z0-9-]{0,4}") {
            if let Ok(name) = OperationName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
