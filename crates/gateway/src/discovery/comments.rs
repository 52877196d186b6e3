//! What the protos say of their elements.

use prost_reflect::FileDescriptor;

/// The comment above an element of a file, as one paragraph; empty if there is none.
pub(crate) fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let mut locations = info.into_iter().flat_map(|info| &info.location);
    let found = locations.find(|location| location.path == path);
    let words = found.map(|location| location.leading_comments().split_whitespace());
    words.map(|words| words.collect::<Vec<_>>().join(" ")).unwrap_or_default()
}
