//! Compiles `proto/` in pure Rust: no `protoc` needs to be installed.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());

    let public = [
        "google/longrunning/operations.proto",
        "google/rpc/code.proto",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
        "longshore/v1/jobs.proto",
    ];
    let internal = ["longshore/internal/v1/bus.proto", "longshore/internal/v1/record.proto"];
    let descriptors = protox::Compiler::new([&root])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(public)?
        .open_files(internal)?
        .file_descriptor_set();

    // Served by reflection, and read for JSON and HTTP. Encoded by the compiler, because prost's
    // types lose the options that are extensions, such as google.api.http. With comments, which
    // reflection and documents show.
    let public = protox::Compiler::new([&root])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(public)?
        .encode_file_descriptor_set();
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("descriptors.binpb"), public)?;

    let mut messages = prost_build::Config::new();
    messages
        .bytes([".longshore.internal.v1"])
        .btree_map(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com");
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds_with_config(descriptors, messages)?;
    Ok(())
}
