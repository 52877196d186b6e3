//! Messages of types of one's own.

use std::{fs, path::PathBuf};

use prost::Message;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use serde_json::json;

use crate::process::{Dev, done, longshore, text};

const THING: &str = r#"{"@type": "type.googleapis.com/acme.Thing", "name": "a"}"#;

/// What a compiler makes of `package acme; message Thing { string name = 1; }`.
fn descriptors() -> Vec<u8> {
    let name = FieldDescriptorProto {
        name: Some("name".to_owned()),
        number: Some(1),
        label: Some(Label::Optional.into()),
        r#type: Some(Type::String.into()),
        ..FieldDescriptorProto::default()
    };
    let thing = DescriptorProto {
        name: Some("Thing".to_owned()),
        field: vec![name],
        ..DescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("acme.proto".to_owned()),
        package: Some("acme".to_owned()),
        message_type: vec![thing],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

fn written(dev_home: &std::path::Path, bytes: &[u8]) -> PathBuf {
    let file = dev_home.join("acme.binpb");
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn registered_types_are_json_and_others_are_served_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let file = written(home.path(), &descriptors());
    let types = text(&file);
    let dev = Dev::at(tempfile::tempdir().unwrap(), &["--types", types]);
    let typed = ["run", "echo", "--typed-input", THING, "--wait", "--types", types];
    let operation = dev.client(&typed).json();
    // The executable read JSON and wrote JSON.
    assert_eq!(operation["response"]["name"], "a", "{operation}");

    let name = operation["name"].as_str().unwrap();
    let opaque = dev.client(&["get", name]).json();
    let expected = json!({"@type": "type.googleapis.com/acme.Thing", "value": "CgFh"});
    assert_eq!(opaque["response"], expected);
}

#[test]
fn a_file_that_holds_no_types_stops_the_start() {
    let home = tempfile::tempdir().unwrap();
    let file = written(home.path(), b"garbage");
    let stopped =
        done(longshore().args(["dev", "--listen", "127.0.0.1:0", "--types", text(&file)]));
    assert_eq!(stopped.code, 78, "{}", stopped.stderr);
    assert!(stopped.stderr.contains("acme.binpb"), "{}", stopped.stderr);
}
