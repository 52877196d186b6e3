//! `google-cloud-longrunning`, and the poller of `google-cloud-lro`, against a real Longshore.
//!
//! The client speaks HTTP/JSON only and has names only that begin with `operations/`: an API for it
//! has its operations in the root, or under a resource such as `operations/projects/p`.
#![cfg(test)]

use std::{env, sync::Arc, time::Duration};

use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::{
    error::rpc::{Code, StatusDetails},
    exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder},
    paginator::ItemPaginator as _,
    polling_error_policy::Aip194Strict,
};
use google_cloud_longrunning::{client::Operations, model::operation::Result as Outcome};
use google_cloud_lro::{Poller, internal};
use google_cloud_wkt::{Empty, Struct};
use serde_json::{Value, json};

fn url() -> String {
    format!("http://{}", env::var("LONGSHORE_ADDRESS").unwrap())
}

async fn client() -> Operations {
    let credentials = anonymous::Builder::new().build();
    Operations::builder().with_endpoint(url()).with_credentials(credentials).build().await.unwrap()
}

async fn post(path: &str, body: Value) -> Value {
    let request = reqwest::Client::new().post(format!("{}/v1/{path}", url())).json(&body);
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

/// Runs a job and returns its operation's name.
async fn run(job_type: &str, parent: &str, label: &str) -> String {
    let slash = if parent.is_empty() { "" } else { "/" };
    let body = json!({"jobType": job_type, "input": {"word": "hello"}, "labels": {"check": label}});
    let operation = post(&format!("{parent}{slash}jobs:run"), body).await;
    operation["name"].as_str().unwrap().to_owned()
}

/// The same, to its end.
async fn finished(job_type: &str, parent: &str, label: &str) -> String {
    let name = run(job_type, parent, label).await;
    let operation = post(&format!("{name}:wait"), json!({"timeout": "30s"})).await;
    assert_eq!(operation["done"], true);
    name
}

const PARENTS: [&str; 2] = ["", "operations/projects/p"];

#[tokio::test]
async fn get() {
    let client = client().await;
    for parent in PARENTS {
        let name = finished("ok", parent, "get").await;
        let operation = client.get_operation().set_name(&name).send().await.unwrap();
        assert_eq!(operation.name, name);
        assert!(operation.done);
        let Some(Outcome::Response(response)) = operation.result else { panic!("no response") };
        let response = response.to_msg::<Struct>().unwrap();
        assert_eq!(Value::Object(response), json!({"said": "hello", "count": 1}));
        let metadata = operation.metadata.unwrap();
        assert_eq!(metadata.type_url(), Some("type.googleapis.com/longshore.v1.OperationMetadata"));
    }
}

#[tokio::test]
async fn list_with_pages_and_filter() {
    let client = client().await;
    let label = format!("l{}", std::process::id());
    let mut names = vec![finished("ok", "", &label).await, finished("fail", "", &label).await];
    for _ in 0..3 {
        names.push(run("stuck", "", &label).await);
    }
    names.reverse();
    for (filter, size, expected) in [
        ("", 0, &names[..]),
        ("", 4, &names[..]),
        (" AND done=false", 2, &names[..3]),
        (" AND error:*", 0, &names[3..4]),
    ] {
        let list = client
            .list_operations()
            .set_name("operations")
            .set_filter(format!("labels.check={label}{filter}"))
            .set_page_size(size);
        let mut items = list.by_item();
        let mut found = Vec::new();
        while let Some(item) = items.next().await {
            found.push(item.unwrap().name);
        }
        assert_eq!(found, expected, "{filter}");
    }
}

#[tokio::test]
async fn cancel() {
    let client = client().await;
    for parent in PARENTS {
        let name = run("stuck", parent, "cancel").await;
        for _ in 0..2 {
            client.cancel_operation().set_name(&name).send().await.unwrap();
        }
        let _ended = post(&format!("{name}:wait"), json!({"timeout": "30s"})).await;
        let operation = client.get_operation().set_name(&name).send().await.unwrap();
        let Some(Outcome::Error(error)) = operation.result else { panic!("no error") };
        assert_eq!(error.code, Code::Cancelled as i32);
    }
}

#[tokio::test]
async fn delete() {
    let client = client().await;
    for parent in PARENTS {
        let name = finished("ok", parent, "delete").await;
        client.delete_operation().set_name(&name).send().await.unwrap();
        let error = client.get_operation().set_name(&name).send().await.unwrap_err();
        assert_eq!(error.status().unwrap().code, Code::NotFound);
    }
}

#[tokio::test]
async fn errors() {
    let client = client().await;
    let error = client.get_operation().set_name("operations/nope").send().await.unwrap_err();
    let status = error.status().unwrap();
    assert_eq!((error.http_status_code(), status.code), (Some(404), Code::NotFound));
    let Some(StatusDetails::ErrorInfo(info)) = status.details.first() else { panic!("{status:?}") };
    assert_eq!((&*info.reason, &*info.domain), ("OPERATION_NOT_FOUND", "longshore"));
    assert_eq!(info.metadata["name"], "operations/nope");

    let list = client.list_operations().set_name("operations").set_filter("done = ((");
    let error = list.send().await.unwrap_err();
    let status = error.status().unwrap();
    assert_eq!(status.code, Code::InvalidArgument);
    let fields: Vec<_> = status
        .details
        .iter()
        .filter_map(|detail| match detail {
            StatusDetails::BadRequest(request) => Some(&*request.field_violations[0].field),
            _ => None,
        })
        .collect();
    assert_eq!(fields, ["filter"]);
}

fn often() -> Arc<ExponentialBackoff> {
    let policy = ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(50))
        .with_maximum_delay(Duration::from_millis(500));
    Arc::new(policy.build().unwrap())
}

/// What Google's libraries return from a method that starts an operation.
async fn poller(job_type: &'static str) -> impl Poller<Struct, Empty> {
    let name = run(job_type, "", "poller").await;
    let client = client().await;
    let query = move |name: String| {
        let get = client.get_operation().set_name(name);
        async move { get.send().await.map(internal::Operation::new) }
    };
    let start = query.clone();
    internal::new_poller(Arc::new(Aip194Strict), often(), move || start(name), query)
}

#[tokio::test]
async fn poller_with_a_result() {
    let response = poller("slow").await.until_done().await.unwrap();
    assert_eq!(response["said"], "slowly");
}

#[tokio::test]
async fn poller_of_a_failed_operation() {
    let error = poller("fail").await.until_done().await.unwrap_err();
    let status = error.status().unwrap();
    assert_eq!(status.code, Code::InvalidArgument);
    assert!(status.message.contains("no such flavour: anchovy"), "{}", status.message);
}
