//! How roles start and stop.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use nix::sys::signal::Signal;

use crate::process::{Dev, Role, done, longshore, text};

#[test]
fn stops_when_told_to() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut dev = Dev::start();
        dev.role.signal(signal);
        assert_eq!(dev.role.ended().code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut dev = Dev::start();
    let name = dev.submit(&["hang"]);
    // While a job runs the worker waits for it.
    dev.until_running(&name);
    dev.role.signal(Signal::SIGTERM);
    dev.role.logged("a second signal ends the process at once");
    dev.role.signal(Signal::SIGTERM);
    assert_eq!(dev.role.ended().code(), Some(130));
}

#[test]
fn what_was_accepted_survives_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let data = text(&data).to_owned();
    let mut dev = Dev::at(home, &["--data", &data]);
    let name = dev.submit(&["echo", "--input", r#"{"a": 1}"#]);
    assert_eq!(dev.client(&["wait", &name]).code, 0);
    dev.role.signal(Signal::SIGKILL);
    dev.role.ended();

    let other = tempfile::tempdir().unwrap();
    let again = Dev::at(other, &["--data", &data]);
    let operation = again.client(&["get", &name]).json();
    assert_eq!(operation["response"]["value"]["a"], 1);
}

#[test]
fn a_wrong_setting_stops_the_start() {
    let refused = |command: &mut std::process::Command, parts: &[&str]| {
        let done = done(command);
        assert_eq!(done.code, 78, "{}", done.stderr);
        for part in parts {
            assert!(done.stderr.contains(part), "{part:?} is not in {}", done.stderr);
        }
    };
    refused(
        longshore().arg("dev").env("LONGSHORE_GATEWAY__LISTN", "x"),
        &["LONGSHORE_GATEWAY__LISTN", "unknown field `listn`", "`listen`"],
    );
    refused(
        longshore().args(["dev", "--listen", "here"]),
        &["the flag --listen", "gateway.listen = here"],
    );
    refused(
        longshore().args(["dev", "--config", "/nowhere.toml"]),
        &["/nowhere.toml", "No such file"],
    );
    refused(
        longshore().args(["dev", "--jobs", "/nowhere.toml"]),
        &["/nowhere.toml", "No such file"],
    );
    refused(longshore().args(["dev", "--log-filter", "a=b=c"]), &["telemetry.log_filter"]);
    refused(longshore().arg("worker"), &["exec.jobs", "--jobs"]);
    refused(longshore().arg("state").env("LONGSHORE_RULES__LEASE", "0s"), &["rules.lease"]);
    refused(
        longshore().args(["gateway", "--redis", "http://:geheim@127.0.0.1:1"]),
        &["redis at http://***@127.0.0.1:1"],
    );
    let done = done(longshore().args(["dev", "--log-format", "xml"]));
    assert_eq!(done.code, 2);
}

#[test]
fn an_address_in_use_stops_the_start() {
    let dev = Dev::start();
    let address = dev.address.strip_prefix("http://").unwrap();
    let done = done(longshore().args(["dev", "--listen", address]));
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains(&format!("can't listen on {address}")), "{}", done.stderr);
}

#[test]
fn servers_that_are_not_there_are_named_and_tried_again() {
    for role in ["gateway", "state"] {
        let mut command = longshore();
        command.args([role, "--redis", "redis://:geheim@127.0.0.1:1", "--log-format", "json"]);
        let mut role = Role::start(&mut command);
        for _ in 0..2 {
            let line = role.logged("can't be reached, trying again");
            assert!(line.contains("redis://***@127.0.0.1:1") && !line.contains("geheim"), "{line}");
        }
        role.signal(Signal::SIGTERM);
        assert_eq!(role.ended().code(), Some(0));
    }
}

#[test]
fn the_platform_is_told_what_is_missing() {
    let ask = |role: &Role, path: &str| {
        let line = role.logged("answering the platform");
        let address = line.rsplit("address=").next().unwrap().trim().to_owned();
        let answer = get(&address, path);
        (address, answer)
    };
    let admin = ["--admin-listen", "127.0.0.1:0"];

    // Without its servers it is alive and not ready.
    let mut command = longshore();
    command.args(["state", "--redis", "redis://127.0.0.1:1"]).args(admin);
    let mut role = Role::start(&mut command);
    let (address, answer) = ask(&role, "/livez");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\nok\n"), "{answer}");
    let answer = get(&address, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("\r\nstarting\n"), "{answer}");
    role.signal(Signal::SIGTERM);
    assert_eq!(role.ended().code(), Some(0));

    // With all that it needs it is ready, until it is told to stop.
    let home = tempfile::tempdir().unwrap();
    let jobs = home.path().join("jobs.toml");
    std::fs::write(&jobs, "[jobs.hang]\ncommand = [\"sleep\", \"600\"]\ngrace = \"1s\"\n").unwrap();
    let mut command = longshore();
    // Until a second signal it drains.
    command.env("LONGSHORE_WORKER__DRAIN_TIMEOUT", "600s");
    command.args(["dev", "--listen", "127.0.0.1:0", "--jobs", text(&jobs)]).args(admin);
    let role = Role::start(&mut command);
    let (admin, _) = ask(&role, "/livez");
    let address = role.address();
    let mut dev = Dev { role, address, home };
    let answer = get(&admin, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\nok\n"), "{answer}");
    assert_eq!(done(longshore().args(["probe", &admin])).code, 0);
    let name = dev.submit(&["hang"]);
    dev.until_running(&name);
    dev.role.signal(Signal::SIGTERM);
    dev.role.logged("a second signal ends the process at once");
    let stopping = done(longshore().args(["probe", &admin]));
    assert_eq!((stopping.code, &*stopping.stdout), (69, "stopping\n"));
    assert_eq!(done(longshore().args(["probe", "--live", &admin])).code, 0);
    dev.role.signal(Signal::SIGTERM);
    dev.role.ended();
    let gone = done(longshore().args(["probe", &admin]));
    assert_eq!(gone.code, 69);
    assert!(gone.stderr.contains(&format!("can't reach {admin}")), "{}", gone.stderr);
}

/// All that a server says.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
