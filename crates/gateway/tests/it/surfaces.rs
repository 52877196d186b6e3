//! How operations appear under configured APIs.

use http::Method;
use longshore_core::{
    lifecycle::Input,
    names::OperationName,
    record::{Payload, Progress},
};
use longshore_gateway::{Metadata, MethodSettings, Settings, SurfaceSettings};
use longshore_proto::{
    longrunning::{
        CancelOperationRequest, DeleteOperationRequest, ListOperationsRequest, Operation,
        WaitOperationRequest, operations_client::OperationsClient,
    },
    v1::{OperationMetadata, RunJobRequest, WatchOperationRequest},
};
use prost::{Message, Name};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::{Code, transport::Endpoint};

use crate::{
    harness::{Gateway, job, reason},
    http::client::Call,
};

pub(crate) const VERTEX: &str = include_str!("../../../../examples/surfaces/vertex-ai.toml");
pub(crate) const DIALOGFLOW: &str =
    include_str!("../../../../examples/surfaces/dialogflow-v2.toml");
pub(crate) const AUTOML: &str = include_str!("../../../../examples/surfaces/automl-v1.toml");
pub(crate) const PLAIN: &str = include_str!("../../../../examples/surfaces/plain.toml");

/// A file with settings.
#[derive(Deserialize)]
struct File {
    gateway: Settings,
}

pub(crate) fn settings(files: &[&str]) -> Settings {
    let surfaces = files.iter().flat_map(|file| {
        let file: File = toml::from_str(file).unwrap();
        file.gateway.check().unwrap();
        file.gateway.surfaces
    });
    Settings { surfaces: surfaces.collect(), ..Settings::default() }
}

/// Runs a job as the API's own server does.
async fn run_behind(gateway: &Gateway, parent: &str) -> String {
    let call = Call::post(gateway, &format!("/v1/{parent}/jobs:run"));
    let call = call.header("host", "longshore.internal").json(&json!({"jobType": "index"}));
    call.send().await.ok()["name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn vertex_ai_has_its_five_methods() {
    let gateway = Gateway::start_with(settings(&[VERTEX])).await;
    let name = run_behind(&gateway, "projects/p/locations/l").await;
    let get = Call::get(&gateway, &format!("/v1/{name}")).send().await.ok();
    assert_eq!(get["metadata"]["@type"], "type.googleapis.com/google.protobuf.Struct");
    assert_eq!(get["metadata"]["value"]["jobType"], "index");
    let beta = Call::get(&gateway, "/v1beta1/projects/p/locations/l/operations").send().await.ok();
    assert_eq!(beta["operations"][0], get);
    let wait = Call::post(&gateway, &format!("/v1/{name}:wait?timeout=0.01s")).send().await.ok();
    assert_eq!(wait, get);
    for (verb, target) in
        [(Method::POST, format!("/v1/{name}:cancel")), (Method::DELETE, format!("/v1/{name}"))]
    {
        assert_eq!(Call::new(&gateway, verb, &target).send().await.ok(), json!({}));
    }
    let run = Call::post(&gateway, "/v1/projects/p/locations/l/jobs:run").send().await;
    assert_eq!((run.status.as_u16(), &*run.reason()), (501, "METHOD_NOT_OFFERED"));
    let watch = Call::get(&gateway, &format!("/v1/{name}:watch")).send().await;
    assert_eq!((watch.status.as_u16(), &*watch.reason()), (501, "METHOD_NOT_OFFERED"));
    for target in [
        "/v2/projects/p/locations/l/operations",
        "/v1/operations",
        "/v1/operations/x",
        "/v1/projects/p/operations/x",
        "/v1/projects/p/locations/l/x/y/operations/x",
    ] {
        let missed = Call::get(&gateway, target).send().await;
        assert_eq!(
            (missed.status.as_u16(), &*missed.reason()),
            (404, "SURFACE_NOT_FOUND"),
            "{target}"
        );
    }
}

#[tokio::test]
async fn dialogflow_has_three_methods_under_two_patterns() {
    let gateway = Gateway::start_with(settings(&[DIALOGFLOW])).await;
    for parent in ["projects/p", "projects/p/locations/l"] {
        let name = run_behind(&gateway, parent).await;
        let get = Call::get(&gateway, &format!("/v2/{name}")).send().await.ok();
        let list = Call::get(&gateway, &format!("/v2/{parent}/operations")).send().await.ok();
        assert_eq!(list["operations"], json!([get]));
        Call::post(&gateway, &format!("/v2/{name}:cancel")).send().await.ok();
        for (verb, target) in
            [(Method::DELETE, format!("/v2/{name}")), (Method::POST, format!("/v2/{name}:wait"))]
        {
            let refused = Call::new(&gateway, verb, &target).send().await;
            assert_eq!((refused.status.as_u16(), &*refused.reason()), (501, "METHOD_NOT_OFFERED"));
        }
        let delete = DeleteOperationRequest { name: name.clone() };
        let refused = gateway.operations().delete_operation(delete).await.unwrap_err();
        assert_eq!(
            (refused.code(), &*reason(&refused)),
            (Code::Unimplemented, "METHOD_NOT_OFFERED")
        );
        let cancel = CancelOperationRequest { name: name.clone() };
        gateway.operations().cancel_operation(cancel).await.unwrap();
    }
}

#[tokio::test]
async fn automl_filters_on_three_fields_only() {
    let gateway = Gateway::start_with(settings(&[AUTOML])).await;
    let name = run_behind(&gateway, "projects/p/locations/l").await;
    let id = name.rsplit('/').next().unwrap();
    let list = async |filter: &str| {
        let query: String = form_urlencoded(filter);
        let target = format!("/v1/projects/p/locations/l/operations?filter={query}");
        Call::get(&gateway, &target).send().await
    };
    for (filter, count) in [
        ("done=true".to_owned(), 0),
        ("done!=true".to_owned(), 1),
        (format!("operationId = {id} AND done=false"), 1),
        ("worksOn = projects/my-project/locations/us-central1/datasets/5".to_owned(), 0),
    ] {
        let found = list(&filter).await.ok();
        assert_eq!(found["operations"].as_array().map_or(0, Vec::len), count, "{filter}");
    }
    let refused = list("done=true AND createTime > 2022-08-07").await;
    assert_eq!((refused.status.as_u16(), &*refused.reason()), (400, "INVALID_FILTER"));
    assert!(refused.text().contains("at byte 14"), "{}", refused.text());
    let wait = Call::post(&gateway, &format!("/v1/{name}:wait"));
    assert_eq!(wait.json(&json!({"timeout": "0.01s"})).send().await.ok()["name"], *name);
}

fn form_urlencoded(text: &str) -> String {
    text.replace(' ', "%20").replace('=', "%3D").replace('>', "%3E").replace('!', "%21")
}

#[tokio::test]
async fn the_plain_one_is_as_none_at_all() {
    assert_eq!(
        settings(&[PLAIN]).surfaces[0],
        SurfaceSettings { title: "Longshore".to_owned(), ..SurfaceSettings::default() }
    );
}

#[tokio::test]
async fn a_call_goes_to_the_first_surface_that_has_its_method() {
    let with = |name: &str, method, metadata| SurfaceSettings {
        name: name.to_owned(),
        methods: Some([(method, MethodSettings::default())].into()),
        metadata,
        ..SurfaceSettings::default()
    };
    let surfaces = vec![
        with("first", longshore_gateway::Method::Get, Metadata::None),
        with("second", longshore_gateway::Method::Run, Metadata::Typed),
    ];
    let gateway = Gateway::start_with(Settings { surfaces, ..Settings::default() }).await;
    let run = gateway.jobs().run_job(job()).await.unwrap().into_inner();
    assert!(run.metadata.is_some());
    assert!(gateway.get(&run.name).await.unwrap().metadata.is_none());
    let list = gateway.operations().list_operations(ListOperationsRequest::default()).await;
    let refused = list.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::Unimplemented, "METHOD_NOT_OFFERED"));
    assert!(refused.message().contains("first does not offer list"), "{refused}");
}

#[tokio::test]
async fn a_host_has_its_own_api() {
    let host = |name: &str, hosts: &[&str], metadata| SurfaceSettings {
        name: name.to_owned(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        metadata,
        ..SurfaceSettings::default()
    };
    let surfaces = vec![
        host("one", &["one.example", "1.example"], Metadata::None),
        host("two", &[], Metadata::Typed),
    ];
    let gateway = Gateway::start_with(Settings { surfaces, ..Settings::default() }).await;
    let name = gateway.run("a").await;
    for (host, has_metadata) in [
        ("one.example", false),
        ("1.EXAMPLE:8080", false),
        ("two.example", true),
        ("one.example.org", true),
    ] {
        let call = Call::get(&gateway, &format!("/v1/{name}")).header("host", host);
        assert_eq!(call.send().await.ok().get("metadata").is_some(), has_metadata, "{host}");
        let endpoint = Endpoint::from_shared(format!("http://{}", gateway.address)).unwrap();
        let origin = format!("http://{host}").parse().unwrap();
        let channel = endpoint.origin(origin).connect().await.unwrap();
        let get = longshore_proto::longrunning::GetOperationRequest { name: name.clone() };
        let operation =
            OperationsClient::new(channel).get_operation(get).await.unwrap().into_inner();
        assert_eq!(operation.metadata.is_some(), has_metadata, "{host}");
    }
}

/// What every way to an operation shows of its metadata.
async fn shown(gateway: &Gateway, name: &str, parent: &str) -> Vec<Operation> {
    let list =
        ListOperationsRequest { name: parent.to_owned(), ..ListOperationsRequest::default() };
    let listed = gateway.operations().list_operations(list).await.unwrap().into_inner().operations;
    let timeout = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    let wait = WaitOperationRequest { name: name.to_owned(), timeout };
    let waited = gateway.operations().wait_operation(wait).await.unwrap().into_inner();
    let watch = WatchOperationRequest { name: name.to_owned() };
    let mut states = gateway.jobs().watch_operation(watch).await.unwrap().into_inner();
    let watched = states.message().await.unwrap().unwrap();
    let mut all = vec![gateway.get(name).await.unwrap(), waited, watched];
    all.extend(listed);
    all
}

async fn json_of(gateway: &Gateway, name: &str) -> Value {
    Call::get(gateway, &format!("/v1/{name}")).send().await.ok()
}

#[tokio::test]
async fn metadata_is_shown_as_the_surface_says() {
    const DETAILS: &str = "type.googleapis.com/example.v1.Progress";
    for (metadata, metadata_type, before, after) in [
        (
            Metadata::Typed,
            None,
            Some(OperationMetadata::type_url()),
            Some(OperationMetadata::type_url()),
        ),
        (
            Metadata::Struct,
            None,
            Some("type.googleapis.com/google.protobuf.Struct".to_owned()),
            Some("type.googleapis.com/google.protobuf.Struct".to_owned()),
        ),
        (Metadata::Details, None, None, Some(DETAILS.to_owned())),
        (
            Metadata::Details,
            Some(DETAILS.to_owned()),
            Some(DETAILS.to_owned()),
            Some(DETAILS.to_owned()),
        ),
        (Metadata::None, None, None, None),
    ] {
        let surface = SurfaceSettings { metadata, metadata_type, ..SurfaceSettings::default() };
        let settings = Settings { surfaces: vec![surface], ..Settings::default() };
        let gateway = Gateway::start_with(settings).await;
        let request = RunJobRequest { parent: "a".to_owned(), ..job() };
        let checked = RunJobRequest { validate_only: true, ..request.clone() };
        let checked = gateway.jobs().run_job(checked).await.unwrap().into_inner();
        let run = gateway.jobs().run_job(request).await.unwrap().into_inner();
        let types = |operations: Vec<Operation>| -> Vec<Option<String>> {
            operations.into_iter().map(|one| one.metadata.map(|any| any.type_url)).collect()
        };
        let name = run.name.clone();
        let mut all = vec![checked, run];
        all.extend(shown(&gateway, &name, "a").await);
        assert_eq!(types(all), vec![before.clone(); 6], "{metadata:?}");
        assert_eq!(json_of(&gateway, &name).await["metadata"]["@type"].as_str(), before.as_deref());

        let attempt = gateway.claim(&name).await;
        let details = Payload { type_url: DETAILS.to_owned(), value: vec![8, 7].into() };
        let progress = Progress { sequence: 1, details: Some(details), ..Progress::default() };
        let input = Input::Progress { attempt, claim: crate::harness::CLAIM, progress };
        gateway.ledger.apply(OperationName::parse(&name).unwrap().id, input).await.unwrap();
        assert_eq!(
            types(shown(&gateway, &name, "a").await),
            vec![after.clone(); 4],
            "{metadata:?}"
        );
        let json = json_of(&gateway, &name).await;
        assert_eq!(json["metadata"]["@type"].as_str(), after.as_deref());
        match metadata {
            Metadata::Typed => assert_eq!(json["metadata"]["state"], "RUNNING"),
            Metadata::Struct => {
                let value = &json["metadata"]["value"];
                assert_eq!(
                    (&value["state"], &value["details"]["@type"]),
                    (&json!("RUNNING"), &json!(DETAILS))
                );
                let any = gateway.get(&name).await.unwrap().metadata.unwrap();
                let message = prost_types::Struct::decode(&*any.value).unwrap();
                assert!(message.fields.contains_key("createTime"));
            }
            Metadata::Details => assert_eq!(json["metadata"]["value"], "CAc="),
            Metadata::None => assert_eq!(json["metadata"], Value::Null),
        }
    }
}

#[tokio::test]
async fn a_surface_bounds_pages_and_waits() {
    let surface = SurfaceSettings {
        default_page_size: Some(1),
        max_page_size: Some(2),
        max_wait: Some(std::time::Duration::from_millis(20)),
        ..SurfaceSettings::default()
    };
    let gateway =
        Gateway::start_with(Settings { surfaces: vec![surface], ..Settings::default() }).await;
    for _ in 0..3 {
        gateway.run("a").await;
    }
    for (asked_for, got) in [(0, 1), (1, 1), (2, 2), (100, 2)] {
        let target = format!("/v1/a/operations?pageSize={asked_for}");
        let page = Call::get(&gateway, &target).send().await.ok();
        assert_eq!(page["operations"].as_array().unwrap().len(), got);
    }
    let name = gateway.run("a").await;
    let wait = WaitOperationRequest { name, timeout: None };
    assert!(!gateway.operations().wait_operation(wait).await.unwrap().into_inner().done);
}

#[test]
fn what_can_not_be_served_is_named() {
    let plain = SurfaceSettings::default;
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
    let mut other_scope = plain();
    other_scope.methods = Some(
        [(
            longshore_gateway::Method::Get,
            MethodSettings { scopes: Some(texts(&["x"])), ..MethodSettings::default() },
        )]
        .into(),
    );
    for (surface, expected) in [
        (SurfaceSettings { name: "A".to_owned(), ..plain() }, "name of \"A\""),
        (
            SurfaceSettings { names: texts(&["projects/*"]), ..plain() },
            "\"projects/*\", which must end in operations/*",
        ),
        (SurfaceSettings { names: Vec::new(), ..plain() }, "must have a pattern"),
        (SurfaceSettings { versions: texts(&["1"]), ..plain() }, "\"1\", which is none"),
        (SurfaceSettings { hosts: texts(&["a:80"]), ..plain() }, "without a port"),
        (SurfaceSettings { methods: Some([].into()), ..plain() }, "must have a method"),
        (other_scope, "not among the surface's scopes"),
        (
            SurfaceSettings { filter_fields: Some(["x".to_owned()].into()), ..plain() },
            "there are name, operation_id",
        ),
        (SurfaceSettings { metadata_type: Some("x".to_owned()), ..plain() }, "goes with metadata"),
        (SurfaceSettings { max_page_size: Some(0), ..plain() }, "max_page_size"),
        (
            SurfaceSettings { default_page_size: Some(2), max_page_size: Some(1), ..plain() },
            "default_page_size",
        ),
        (SurfaceSettings { max_wait: Some(std::time::Duration::ZERO), ..plain() }, "max_wait"),
        (SurfaceSettings { root_url: Some("example.com".to_owned()), ..plain() }, "root_url"),
    ] {
        let settings = Settings { surfaces: vec![surface], ..Settings::default() };
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let twice = Settings { surfaces: vec![plain(), plain()], ..Settings::default() };
    assert!(twice.check().unwrap_err().to_string().contains("another for each"));
    let unknown = toml::from_str::<File>("[[gateway.surfaces]]\nmethod = {}").err().unwrap();
    assert!(unknown.to_string().contains("unknown field `method`"));
}
