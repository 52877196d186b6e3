//! What a pool of workers has to be permitted in NATS, and no more: as `docs/security.md` says.

use longshore_testkit::{NatsServer, eventually};

use super::{Cluster, DEADLINE, get, job, metadata, number, response, run, wait};
use longshore_proto::v1::operation_metadata::State;

/// The permissions of the document for a pool that has one type of jobs. Whoever gives no name is a
/// gateway or a state replica, and may do everything.
fn configuration() -> String {
    let document = include_str!("../../../../docs/security.md");
    let permissions = document.split("```").find_map(|block| block.strip_prefix("hocon\n"));
    let permissions = permissions.unwrap().replace("thumbnail", "echo");
    format!(
        "authorization {{ users = [
            {{ user: roles, password: roles }}
            {{ user: pool, password: secret, permissions: {{ {permissions} }} }}
        ] }}
        no_auth_user: roles"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_can_be_held_to_its_own_queues() {
    let nats = NatsServer::start_configured(&configuration()).await;
    let mut cluster = Cluster::without_workers(nats, 1, &[]).await;
    let channel = cluster.channel(0).await;
    let only = |job_type: &str| format!("[jobs.{job_type}]\ncommand = ['cat']\nconcurrency = 4\n");
    for job_type in ["echo", "slow"] {
        std::fs::write(cluster.path().join(job_type), only(job_type)).unwrap();
    }
    let pool = cluster.nats.url().replace("//", "//pool:secret@");
    cluster.start_worker_at("own", &pool, "echo");
    cluster.start_worker_at("foreign", &pool, "slow");

    let foreign = run(&channel, job("slow", 1)).await;
    for sent in 0..20 {
        let operation = run(&channel, job("echo", sent)).await;
        let done = wait(&channel, &operation.name).await;
        assert_eq!(number(&response(&done)), Some(f64::from(u32::try_from(sent).unwrap())));
    }
    let refusal = eventually(DEADLINE, || async {
        let log = cluster.log("foreign");
        let refused = log.to_lowercase().contains("permissions violation");
        if refused { Ok(()) } else { Err(log) }
    });
    refusal.await;
    assert_eq!(metadata(&get(&channel, &foreign.name).await).state(), State::Pending);
}
