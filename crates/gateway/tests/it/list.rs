//! `ListOperations`: pages, tokens, filters.

use std::{collections::BTreeSet, sync::atomic::Ordering::SeqCst};

use longshore_core::names::OperationName;
use longshore_gateway::Settings;
use longshore_proto::longrunning::{
    DeleteOperationRequest, ListOperationsRequest, ListOperationsResponse, Operation,
};
use longshore_proto::v1::RunJobRequest;
use prost::Message;
use tonic::{Code, Status};

use crate::harness::{Gateway, fields, job, metadata, reason};

fn of(name: &str) -> ListOperationsRequest {
    ListOperationsRequest { name: name.to_owned(), ..ListOperationsRequest::default() }
}

async fn page(
    gateway: &Gateway,
    request: ListOperationsRequest,
) -> Result<ListOperationsResponse, Status> {
    gateway.operations().list_operations(request).await.map(tonic::Response::into_inner)
}

fn names(operations: Vec<Operation>) -> Vec<String> {
    operations.into_iter().map(|operation| operation.name).collect()
}

/// All pages to the end.
async fn all(gateway: &Gateway, mut request: ListOperationsRequest) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let page = page(gateway, request.clone()).await.unwrap();
        found.extend(names(page.operations));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return found;
        }
    }
}

async fn run_many(gateway: &Gateway, parent: &str, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(gateway.run(parent).await);
    }
    names
}

#[tokio::test]
async fn a_list_has_its_parents_operations_newest_first() {
    let gateway = Gateway::start().await;
    assert!(all(&gateway, of("nothing/here")).await.is_empty());
    let root = run_many(&gateway, "", 2).await;
    let mut there = run_many(&gateway, "projects/p", 3).await;
    run_many(&gateway, "projects/p/locations/l", 1).await;
    there.reverse();
    for name in ["projects/p", "projects/p/operations"] {
        assert_eq!(all(&gateway, of(name)).await, there);
    }
    for name in ["", "operations"] {
        assert_eq!(
            all(&gateway, of(name)).await.into_iter().collect::<BTreeSet<_>>(),
            root.iter().cloned().collect()
        );
    }
    let listed = page(&gateway, of("projects/p")).await.unwrap();
    assert_eq!(listed.operations[0], gateway.get(&there[0]).await.unwrap(), "as Get shows it");
}

#[tokio::test]
async fn pages_cover_the_list_and_end_without_a_token() {
    let gateway = Gateway::start().await;
    let mut expected = run_many(&gateway, "a", 6).await;
    expected.reverse();
    for size in [1, 2, 3, 4, 5, 6, 7, 1000, i32::MAX] {
        let request = ListOperationsRequest { page_size: size, ..of("a") };
        assert_eq!(all(&gateway, request.clone()).await, expected, "{size}");
    }
    // A page that ends where the list ends is the last one.
    let whole = page(&gateway, ListOperationsRequest { page_size: 6, ..of("a") }).await.unwrap();
    assert_eq!((whole.operations.len(), whole.next_page_token.as_str()), (6, ""));
    // The page's size may change on the way.
    let first = page(&gateway, ListOperationsRequest { page_size: 1, ..of("a") }).await.unwrap();
    let rest = ListOperationsRequest { page_size: 5, page_token: first.next_page_token, ..of("a") };
    assert_eq!(names(page(&gateway, rest).await.unwrap().operations), expected[1..]);
}

#[tokio::test]
async fn the_server_bounds_the_size_of_pages() {
    let settings = Settings { default_page_size: 2, max_page_size: 3, ..Settings::default() };
    let gateway = Gateway::start_with(settings).await;
    run_many(&gateway, "a", 5).await;
    assert_eq!(page(&gateway, of("a")).await.unwrap().operations.len(), 2);
    let request = ListOperationsRequest { page_size: 100, ..of("a") };
    assert_eq!(page(&gateway, request).await.unwrap().operations.len(), 3);
    let request = ListOperationsRequest { page_size: -1, ..of("a") };
    let refused = page(&gateway, request).await.unwrap_err();
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, vec!["page_size".to_owned()])
    );
}

#[tokio::test]
async fn pages_are_stable_while_operations_come_and_go() {
    let gateway = Gateway::start().await;
    let mut expected = run_many(&gateway, "a", 10).await;
    expected.reverse();
    let mut request = ListOperationsRequest { page_size: 3, ..of("a") };
    let first = page(&gateway, request.clone()).await.unwrap();
    request.page_token = first.next_page_token;
    let mut found = names(first.operations);

    // One is new, one that was seen goes, one that was not seen goes, and one changes its state.
    gateway.run("a").await;
    for place in [2, 5] {
        let delete = DeleteOperationRequest { name: expected[place].clone() };
        gateway.operations().delete_operation(delete).await.unwrap();
    }
    gateway.complete(&expected[7]).await;
    found.extend(all(&gateway, request).await);
    let gone = expected.remove(5);
    assert!(!found.contains(&gone));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_token_is_good_for_its_own_list_only() {
    let gateway = Gateway::start().await;
    run_many(&gateway, "a", 3).await;
    let first = ListOperationsRequest { page_size: 1, ..of("a") };
    let token = page(&gateway, first.clone()).await.unwrap().next_page_token;
    assert!(
        token.len() < 120
            && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    );
    let with =
        |token: &str| ListOperationsRequest { page_token: token.to_owned(), ..first.clone() };

    page(&gateway, with(&token)).await.unwrap();
    page(&gateway, ListOperationsRequest { name: "a/operations".to_owned(), ..with(&token) })
        .await
        .unwrap();
    let mut forged = token.clone();
    forged.replace_range(4..5, if &token[4..5] == "A" { "B" } else { "A" });
    let refused = [
        with(&forged),
        with("x"),
        with(&"A".repeat(10_000)),
        ListOperationsRequest { name: "b".to_owned(), ..with(&token) },
        ListOperationsRequest { filter: "done=true".to_owned(), ..with(&token) },
    ];
    for request in refused {
        let refused = page(&gateway, request).await.unwrap_err();
        assert_eq!(
            (refused.code(), &*reason(&refused)),
            (Code::InvalidArgument, "INVALID_PAGE_TOKEN")
        );
        assert_eq!(fields(&refused), ["page_token"]);
    }
}

#[tokio::test]
async fn filters_choose_among_the_parents_operations() {
    let gateway = Gateway::start().await;
    let names = run_many(&gateway, "a", 6).await;
    for name in &names[..2] {
        gateway.complete(name).await;
    }
    let filtered =
        |filter: &str| ListOperationsRequest { filter: filter.to_owned(), page_size: 1, ..of("a") };
    let done: BTreeSet<String> = all(&gateway, filtered("done=true")).await.into_iter().collect();
    assert_eq!(done, names[..2].iter().cloned().collect());
    let open: BTreeSet<String> = all(&gateway, filtered("done=false")).await.into_iter().collect();
    assert_eq!(open, names[2..].iter().cloned().collect());

    let refused = page(&gateway, filtered("done >")).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "INVALID_FILTER"));
    assert_eq!(fields(&refused), ["filter"]);
}

#[tokio::test]
async fn a_rare_match_is_found_over_calls_of_bounded_cost() {
    let gateway = Gateway::start().await;
    let rare = gateway.run("a").await;
    gateway.complete(&rare).await;
    let more = (0..2500).map(|_| gateway.run("a"));
    futures::future::join_all(more).await;
    gateway.store.listed.store(0, SeqCst);

    let mut request =
        ListOperationsRequest { filter: "done=true".to_owned(), page_size: 10, ..of("a") };
    let first = page(&gateway, request.clone()).await.unwrap();
    assert!(first.operations.is_empty() && !first.next_page_token.is_empty());
    assert!(gateway.store.listed.load(SeqCst) <= 1200);
    request.page_token = first.next_page_token;
    assert_eq!(all(&gateway, request).await, [rare]);
}

#[tokio::test]
async fn a_page_is_not_larger_than_clients_accept() {
    let gateway = Gateway::start().await;
    let mut expected = run_many(&gateway, "a", 7).await;
    for name in &expected {
        gateway.complete_with(name, 900 << 10).await;
    }
    expected.reverse();
    let first = page(&gateway, of("a")).await.unwrap();
    assert!(first.encoded_len() < 4 << 20);
    assert_eq!(all(&gateway, of("a")).await, expected);
}

#[tokio::test]
async fn damaged_records_hide_no_others() {
    let gateway = Gateway::start().await;
    let mut expected = run_many(&gateway, "a", 9).await;
    for name in expected.extract_if(.., |name| "bcdefghi".contains(&name[name.len() - 1..])) {
        gateway.store.damaged.lock().unwrap().insert(OperationName::parse(&name).unwrap().id);
    }
    expected.reverse();
    for size in [1, 2, 5, 100] {
        let request = ListOperationsRequest { page_size: size, ..of("a") };
        assert_eq!(all(&gateway, request).await, expected, "{size}");
    }
    // All of them.
    for name in run_many(&gateway, "b", 5).await {
        gateway.store.damaged.lock().unwrap().insert(OperationName::parse(&name).unwrap().id);
    }
    assert!(all(&gateway, ListOperationsRequest { page_size: 1, ..of("b") }).await.is_empty());
}

#[tokio::test]
async fn a_dash_stands_for_any_parent() {
    let gateway = Gateway::start().await;
    let mut all_of_p = Vec::new();
    for parent in ["projects/p/locations/a", "projects/p/locations/b", "projects/q/locations/a"] {
        all_of_p.extend(run_many(&gateway, parent, 2).await);
    }
    for other in ["", "projects/p", "projects/p/locations/a/x/y", "folders/p/locations/a"] {
        run_many(&gateway, other, 1).await;
    }
    all_of_p.reverse();
    let of_q = all_of_p.drain(..2).collect::<Vec<_>>();
    for size in [1, 3, 100] {
        for name in ["projects/p/locations/-", "projects/p/locations/-/operations"] {
            let request = ListOperationsRequest { page_size: size, ..of(name) };
            assert_eq!(all(&gateway, request).await, all_of_p, "{name}");
        }
        let request = ListOperationsRequest { page_size: size, ..of("projects/-/locations/-") };
        assert_eq!(all(&gateway, request).await, [of_q.clone(), all_of_p.clone()].concat());
    }
    gateway.complete(&of_q[0]).await;
    for (filter, expected) in [("done=true", &of_q[0]), ("done=false", &of_q[1])] {
        let filter = filter.to_owned();
        let request = ListOperationsRequest { filter, ..of("projects/q/locations/-") };
        assert_eq!(all(&gateway, request).await, std::slice::from_ref(expected));
    }
    assert!(all(&gateway, of("x/-")).await.is_empty());
    // A token is the list's own, even if another has the same operations.
    let first = ListOperationsRequest { page_size: 1, ..of("projects/p/locations/-") };
    let page_token = page(&gateway, first.clone()).await.unwrap().next_page_token;
    let other = ListOperationsRequest { page_token, ..of("projects/-/locations/-") };
    assert_eq!(reason(&page(&gateway, other).await.unwrap_err()), "INVALID_PAGE_TOKEN");
}

#[tokio::test]
async fn no_job_runs_under_a_dash() {
    let gateway = Gateway::start().await;
    let request = RunJobRequest { parent: "projects/-".to_owned(), ..job() };
    let refused = gateway.jobs().run_job(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, vec!["parent".to_owned()])
    );
}

#[tokio::test]
async fn a_wildcard_may_match_late_over_calls_of_bounded_cost() {
    let gateway = Gateway::start().await;
    let rare = gateway.run("a/rare").await;
    futures::future::join_all((0..1500).map(|_| gateway.run("b/many"))).await;
    gateway.store.listed.store(0, SeqCst);
    let mut request = ListOperationsRequest { page_size: 10, ..of("a/-") };
    let first = page(&gateway, request.clone()).await.unwrap();
    assert!(first.operations.is_empty() && !first.next_page_token.is_empty());
    assert!(gateway.store.listed.load(SeqCst) <= 1200);
    request.page_token = first.next_page_token;
    assert_eq!(all(&gateway, request).await, [rare]);
}

#[tokio::test]
async fn partial_success_is_for_lists_of_many_parents() {
    let gateway = Gateway::start().await;
    let request = ListOperationsRequest { return_partial_success: true, ..of("a") };
    let refused = page(&gateway, request).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::Unimplemented, "PARTIAL_SUCCESS_UNSUPPORTED")
    );

    let names = run_many(&gateway, "a/b", 40).await;
    // Now the gateway knows how to seal tokens, even if the notes are lost.
    all(&gateway, ListOperationsRequest { page_size: 39, ..of("a/b") }).await;
    let whole = ListOperationsRequest { return_partial_success: true, ..of("a/-") };
    let found = page(&gateway, whole.clone()).await.unwrap();
    assert_eq!((found.operations.len(), found.unreachable.len()), (40, 0));

    gateway.store.lost.lock().unwrap().extend([0, 3, 7]);
    let left = names
        .iter()
        .filter(|name| ![0, 3, 7].contains(&OperationName::parse(name).unwrap().id.partition(16)));
    let left: BTreeSet<String> = left.cloned().collect();
    let refused = page(&gateway, of("a/-")).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::Unavailable, "STORE_UNAVAILABLE"));
    let found = page(&gateway, whole.clone()).await.unwrap();
    assert_eq!(found.unreachable, ["partitions/0", "partitions/3", "partitions/7"]);
    assert_eq!(names_of(found), left);
    let pages = ListOperationsRequest { page_size: 7, ..whole };
    let paged: BTreeSet<String> = all(&gateway, pages).await.into_iter().collect();
    assert_eq!(paged, left);
}

fn names_of(page: ListOperationsResponse) -> BTreeSet<String> {
    names(page.operations).into_iter().collect()
}

#[tokio::test]
async fn times_bound_what_is_looked_at() {
    let gateway = Gateway::start().await;
    let names = run_many(&gateway, "a", 300).await;
    let time = async |name: &String| {
        let created = metadata(&gateway.get(name).await.unwrap()).create_time.unwrap();
        format!("{created}")
    };
    let (from, to) = (time(&names[100]).await, time(&names[104]).await);
    gateway.store.listed.store(0, SeqCst);
    let mut expected = names[100..105].to_vec();
    expected.reverse();
    for parent in ["a", "-"] {
        for (filter, expected) in [
            (format!("create_time >= \"{from}\" AND create_time <= \"{to}\""), &expected[..]),
            (format!("createTime > \"{from}\" createTime < \"{to}\""), &expected[1..4]),
            (format!("create_time = \"{from}\""), &expected[4..]),
            (format!("create_time < \"{from}\" create_time > \"{to}\""), &[]),
        ] {
            for size in [2, 100] {
                let filter = filter.clone();
                let request = ListOperationsRequest { filter, page_size: size, ..of(parent) };
                assert_eq!(all(&gateway, request).await, expected);
            }
        }
    }
    // The upper bound is where the list begins, the lower one where it ends.
    let filter = format!("create_time <= \"{to}\" AND create_time >= \"{from}\"");
    gateway.store.listed.store(0, SeqCst);
    all(&gateway, ListOperationsRequest { filter, ..of("a") }).await;
    assert!(gateway.store.listed.load(SeqCst) <= 200);
}

#[tokio::test]
async fn a_parent_that_is_none_is_an_invalid_argument() {
    let gateway = Gateway::start().await;
    for name in ["a//b", "/", "a/../b", "a b"] {
        let refused = page(&gateway, of(name)).await.unwrap_err();
        assert_eq!(
            (refused.code(), &*reason(&refused)),
            (Code::InvalidArgument, "INVALID_NAME"),
            "{name}"
        );
    }
}
