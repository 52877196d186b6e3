//! The operator's commands.

use std::{fs, path::Path};

use longshore_testkit::RedisServer;
use nix::sys::signal::Signal;

use crate::process::{Dev, Done, Role, done, longshore, text};

fn admin(args: &[&str]) -> Done {
    done(longshore().arg("admin").args(args))
}

fn fine(args: &[&str]) -> Done {
    let done = admin(args);
    assert_eq!(done.code, 0, "{args:?}: {done:?}");
    done
}

#[test]
fn config_check_says_what_is_wrong() {
    assert_eq!(fine(&["config", "check"]).stdout, "ok\n");
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let jobs = write("jobs.toml", "[jobs.a]\ncommand = ['true']\nconcurrency = 0");
    let cases = [
        ("[gateway]\nlistn = 'x'", vec!["unknown field `listn`", "`listen`"]),
        ("[gateway]\nttl = '1000days'", vec!["gateway.ttl", "max_ttl"]),
        ("[telemetry]\nlog_filter = 'a=b=c'", vec!["telemetry.log_filter"]),
        ("[redis]\nurl = 'http://:geheim@host'", vec!["redis://HOST:PORT"]),
        ("[worker]\nname = 'a.b'", vec!["worker.name"]),
        (&*format!("[exec]\njobs = '{jobs}'"), vec![&*jobs, "concurrency"]),
        ("[types]\ndescriptor_sets = ['/nowhere']", vec!["/nowhere", "No such file"]),
    ];
    for (text, parts) in cases {
        let done = admin(&["config", "check", "--config", &write("c.toml", text)]);
        assert_eq!(done.code, 78, "{text}: {done:?}");
        for part in parts {
            assert!(done.stderr.contains(part), "{part} is not in {}", done.stderr);
        }
        assert!(!done.stderr.contains("geheim"), "{}", done.stderr);
    }
}

#[test]
fn config_print_shows_what_is_set_and_no_secrets() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("settings.toml");
    fs::write(&file, "[gateway]\nttl = \"3days\"\n").unwrap();
    let print = |args: &[&str]| {
        let mut command = longshore();
        command.args(["admin", "config", "print", "--config"]).arg(&file).args(args);
        let done = done(command.env("LONGSHORE_NATS__URL", "nats://me:geheim@host:4222"));
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout
    };
    let expected = format!(
        "[gateway]\nttl = \"3days\"  # {}\n\n[nats]\nurl = \"nats://***@host:4222\"  # the \
         environment variable LONGSHORE_NATS__URL\n\n[redis]\nurl = \"redis://host:1\"  # the flag \
         --redis\n",
        file.display()
    );
    assert_eq!(print(&["--redis", "redis://host:1"]), expected);

    let all = print(&["--effective"]);
    assert!(
        all.contains("max_ttl = \"2months 29days") || all.contains("max_ttl = \"90days\""),
        "{all}"
    );
    assert!(all.contains("\nlease = \"30s\"\n"), "{all}");
    fs::write(&file, &all).unwrap();
    fine(&["config", "check", "--config", text(&file)]);
}

/// `dev` on a directory, without a worker.
fn without_worker(data: &str) -> (Role, String) {
    let mut command = longshore();
    let role = Role::start(command.args(["dev", "--listen", "127.0.0.1:0", "--data", data]));
    let address = role.address();
    (role, address)
}

fn client(address: &str, args: &[&str]) -> Done {
    done(longshore().args(args).env("LONGSHORE_SERVER", address))
}

fn stop(mut role: Role) {
    role.signal(Signal::SIGTERM);
    assert_eq!(role.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_move_from_a_directory_to_redis_and_back() {
    let redis = RedisServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (one, two, first, second) = (path("one"), path("two"), path("first"), path("second"));
    let redis_url = redis.url();
    let at_redis = ["--redis", &redis_url];

    let (role, address) = without_worker(&one);
    let mut names = Vec::new();
    for number in 0..3 {
        let input = format!("{{\"number\": {number}}}");
        let done = client(&address, &["run", "echo", "--input", &input, "-o", "name"]);
        names.push(done.stdout.trim().to_owned());
    }
    let end = client(&address, &["run", "echo", "-o", "name"]).stdout.trim().to_owned();
    assert_eq!(client(&address, &["cancel", &end]).code, 0);
    for command in ["audit", "backup"] {
        let mut args = vec![command, "--data", &one];
        args.extend((command == "backup").then_some(&*first));
        let in_use = admin(&args);
        assert_eq!(in_use.code, 78, "{in_use:?}");
        assert!(in_use.stderr.contains("in use by another process"), "{in_use:?}");
    }
    stop(role);

    fine(&["audit", "--data", &one]);
    fine(&["backup", &first, "--data", &one]);
    assert_eq!(admin(&["backup", &first, "--data", &one]).code, 1);
    let would = fine(&[&["restore", &first, "--dry-run"], &at_redis[..]].concat());
    assert_eq!(would.stdout, "4 records could be restored, 0 replaced\n");
    let restored = fine(&[&["restore", &first], &at_redis[..]].concat());
    assert_eq!(restored.stdout, "4 records are restored, 0 replaced\n");
    let again = admin(&[&["restore", &first], &at_redis[..]].concat());
    assert_eq!(again.code, 5, "{again:?}");
    assert!(again.stderr.contains("4 of 4 records are there already"), "{again:?}");
    let replaced = fine(&[&["restore", &first, "--overwrite"], &at_redis[..]].concat());
    assert_eq!(replaced.stdout, "4 records are restored, 4 replaced\n");
    let report = fine(&[&["audit", "-o", "json"], &at_redis[..]].concat()).json();
    assert_eq!((&report["records"], &report["found"]), (&4.into(), &0.into()), "{report}");

    // What was there already is cleared away and told from what is missing.
    fine(&[&["backup", &second], &at_redis[..]].concat());
    fine(&["restore", &second, "--data", &two]);
    let dev = Dev::at(tempfile::tempdir().unwrap(), &["--data", &two]);
    for (number, name) in names.iter().enumerate() {
        let operation = dev.client(&["wait", name]);
        assert_eq!(operation.json()["response"]["value"]["number"], number, "{operation:?}");
    }
    assert_eq!(dev.client(&["get", &end]).json()["error"]["code"], 1);
}

#[test]
fn a_damaged_backup_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (data, file, other) = (path("data"), path("file"), path("other"));
    let (role, address) = without_worker(&data);
    for _ in 0..3 {
        assert_eq!(client(&address, &["run", "echo"]).code, 0);
    }
    stop(role);
    fine(&["backup", &file, "--data", &data]);
    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let cases = [
        (lines[..4].concat(), "cut off after 3 records"),
        ([lines[0], lines[1], lines[3], lines[4]].concat(), "checksum"),
        ("something else".to_owned(), "no backup"),
    ];
    for (text, part) in cases {
        fs::write(&file, text).unwrap();
        let done = admin(&["restore", &file, "--data", &other]);
        assert_eq!(done.code, 65, "{done:?}");
        assert!(done.stderr.contains(part), "{done:?}");
    }
    let report = fine(&["audit", "-o", "json", "--data", &other]).json();
    assert_eq!(report["records"], 0);
}

#[test]
fn a_directory_without_a_store_stays_empty() {
    let home = tempfile::tempdir().unwrap();
    let nowhere = home.path().join("nowhere");
    let file = home.path().join("file");
    for args in [&["audit"][..], &["backup", text(&file)]] {
        let done = admin(&[args, &["--data", text(&nowhere)]].concat());
        assert_eq!(done.code, 78, "{done:?}");
        assert!(done.stderr.contains("there is no store"), "{done:?}");
    }
    assert!(!Path::new(&nowhere).exists() && !file.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_tells_differences_and_mends_them() {
    let redis = RedisServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (data, file, redis_url) = (path("data"), path("file"), redis.url());
    let (role, address) = without_worker(&data);
    let name = client(&address, &["run", "echo", "-o", "name"]).stdout;
    let id = name.trim().rsplit('/').next().unwrap().to_owned();
    stop(role);
    fine(&["backup", &file, "--data", &data]);
    fine(&["restore", &file, "--redis", &redis_url]);

    for key in redis.cli(&["KEYS", "ls:timer:*"]).await.lines() {
        redis.cli(&["DEL", key]).await;
    }
    let audit = |args: &[&str]| admin(&[&["audit", "--redis", &redis_url], args].concat());
    let found = audit(&[]);
    assert_eq!(found.code, 1, "{found:?}");
    assert!(found.stdout.starts_with(&format!("missing  {id}: the timers, at 20")), "{found:?}");
    assert!(found.stdout.contains("1 records, 2 places") && found.stdout.contains("1 differences"));
    let mended = audit(&["--repair", "-o", "json"]);
    assert_eq!(mended.code, 0, "{mended:?}");
    let report = mended.json();
    assert_eq!(report["differences"][0]["kind"], "missing", "{report}");
    assert_eq!(report["differences"][0]["mended"], true, "{report}");
    assert_eq!(audit(&[]).code, 0);
    let gone = admin(&["audit", "--redis", "redis://127.0.0.1:1"]);
    assert_eq!(gone.code, 69, "{gone:?}");
}
