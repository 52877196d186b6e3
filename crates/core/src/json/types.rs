//! Which types are known: those that are compiled in, and those that the installation registers.

use std::sync::OnceLock;

use longshore_proto::DESCRIPTORS;
use prost_reflect::{DescriptorError, DescriptorPool};

static POOL: OnceLock<DescriptorPool> = OnceLock::new();

/// Why types can't be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The bytes are something else, or what they declare contradicts what is known, or refers to
    /// files that are not there.
    #[error("is not an encoded google.protobuf.FileDescriptorSet with all that it imports")]
    Invalid(#[from] DescriptorError),
    /// Types have been looked up already.
    #[error("comes too late: types have been used already")]
    Late,
}

/// Makes more types known, once in a process and before any type is used: each argument is an
/// encoded `google.protobuf.FileDescriptorSet` with all that it imports, as
/// `protoc --include_imports --descriptor_set_out` and `buf build` write it. Files that are known by
/// name already are passed over.
///
/// # Errors
/// With the place of the argument that can't be registered.
pub fn register(descriptor_sets: &[Vec<u8>]) -> Result<(), (usize, RegisterError)> {
    let mut pool = compiled_in();
    for (place, bytes) in descriptor_sets.iter().enumerate() {
        let added = pool.decode_file_descriptor_set(&**bytes);
        added.map_err(|error| (place, error.into()))?;
    }
    POOL.set(pool).map_err(|_| (0, RegisterError::Late))
}

/// The descriptors of all known types.
pub fn pool() -> &'static DescriptorPool {
    POOL.get_or_init(compiled_in)
}

fn compiled_in() -> DescriptorPool {
    let mut pool = DescriptorPool::global();
    pool.decode_file_descriptor_set(DESCRIPTORS)
        .expect("the compiled-in descriptors are well-formed");
    pool
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

    use super::*;

    fn add(pool: &mut DescriptorPool, bytes: &[u8]) -> Result<(), DescriptorError> {
        pool.decode_file_descriptor_set(bytes)
    }

    fn set(file: &str, dependency: &[&str]) -> Vec<u8> {
        let message = DescriptorProto { name: Some("Thing".to_owned()), ..Default::default() };
        let file = FileDescriptorProto {
            name: Some(file.to_owned()),
            package: Some("acme".to_owned()),
            dependency: dependency.iter().map(|&name| name.to_owned()).collect(),
            message_type: vec![message],
            syntax: Some("proto3".to_owned()),
            ..Default::default()
        };
        FileDescriptorSet { file: vec![file] }.encode_to_vec()
    }

    #[test]
    fn types_of_ones_own_join_those_that_are_known() {
        let mut pool = compiled_in();
        add(&mut pool, &set("acme.proto", &["google/protobuf/any.proto"])).unwrap();
        assert!(pool.get_message_by_name("acme.Thing").is_some());
        assert!(pool.get_message_by_name("longshore.v1.OperationMetadata").is_some());
        // The same file once more, as another set has it.
        add(&mut pool, &set("acme.proto", &[])).unwrap();
    }

    #[test]
    fn what_is_no_set_or_lacks_an_import_is_refused() {
        let mut pool = compiled_in();
        assert!(add(&mut pool, b"garbage").is_err());
        assert!(add(&mut pool, &set("acme.proto", &["acme/other.proto"])).is_err());
        add(&mut pool, &set("one.proto", &[])).unwrap();
        assert!(add(&mut pool, &set("two.proto", &[])).is_err(), "the same message twice");
    }
}
