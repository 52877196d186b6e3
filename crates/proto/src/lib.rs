//! The messages and services of Longshore and of `google.longrunning`, generated from `proto/`.
//!
//! Nothing is written by hand here but the module tree: what a message *means* is the business of
//! the crates above. `google.protobuf` comes from [`prost_types`].

/// Google's packages, as far as Longshore needs them.
pub mod google {
    /// `google.api`: the options that map methods to HTTP.
    pub mod api {
        #![allow(missing_docs, clippy::all, clippy::nursery, unreachable_pub, reason = "generated")]
        tonic::include_proto!("google.api");
    }
    /// `google.longrunning`: the interface that Longshore serves.
    pub mod longrunning {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::restriction,
            clippy::nursery,
            clippy::pedantic,
            unreachable_pub,
            reason = "generated"
        )]
        tonic::include_proto!("google.longrunning");
    }
    /// `google.rpc`: codes, statuses and their details.
    pub mod rpc {
        #![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated")]
        tonic::include_proto!("google.rpc");
    }
}

/// Longshore's packages.
pub mod longshore {
    /// What the roles store and tell each other.
    pub mod internal {
        /// Version 1; fields are only ever added.
        pub mod v1 {
            #![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated")]
            tonic::include_proto!("longshore.internal.v1");
        }
    }
    /// `longshore.v1`: the public API.
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::all,
            clippy::restriction,
            clippy::nursery,
            clippy::pedantic,
            unreachable_pub,
            reason = "generated"
        )]
        tonic::include_proto!("longshore.v1");
    }
}

pub use google::{longrunning, rpc};
pub use longshore::{internal::v1 as internal, v1};

/// All public files, encoded as a `google.protobuf.FileDescriptorSet`: for reflection, JSON and
/// HTTP rules. The internal files are not in it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));
