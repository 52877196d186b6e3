//! The demo as a newcomer sees it.

use crate::process::{done, longshore};

#[test]
fn shows_the_main_job() {
    let elsewhere = tempfile::tempdir().unwrap();
    let done = done(longshore().arg("demo").current_dir(elsewhere.path()));
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(done.stderr, "");
    let (first, second) = done.stdout.split_once("\n2. ").unwrap();
    assert!(first.matches("RUNNING").count() >= 3, "{first}");
    assert!(first.contains("\"done\": true") && first.contains("\"response\""), "{first}");
    assert!(second.contains("\"code\": 1,") && second.contains("CANCELLED"), "{second}");
    assert!(second.contains("longshore dev --jobs examples/jobs.toml"), "{second}");
    // Standard output is no terminal here.
    assert!(!done.stdout.contains(['\r', '\u{1b}']), "{:?}", done.stdout);
}

#[test]
fn takes_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("one"), "1").unwrap();
    let done = done(longshore().arg("demo").arg(directory.path()));
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("\"files\": 1"), "{}", done.stdout);
}

#[test]
fn a_directory_without_files_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let done = done(longshore().arg("demo").arg(directory.path()));
    assert_eq!(done.code, 1, "{}", done.stdout);
    assert!(done.stderr.contains("there are no files under "), "{}", done.stderr);
}
