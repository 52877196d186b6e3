//! What the documents tell their readers to run.
//!
//! In a document, `<!-- file: NAME -->` before a block makes the block a file, and `<!-- test -->`
//! makes it commands that have to succeed. The blocks of a document run in their order in one
//! folder, with `longshore dev` on the document's own `jobs.toml`, or on that of the examples.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::{Dev, done, longshore};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Where documents expect `longshore dev`.
const ADDRESS: &str = "http://127.0.0.1:8080";

enum Block {
    File(String, String),
    Commands(String),
}

/// The marked blocks of a document.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(mark) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->"))
        else {
            continue;
        };
        let mut block = String::new();
        if lines.next_if(|line| line.starts_with("```")).is_some() {
            for line in lines.by_ref().take_while(|line| !line.starts_with("```")) {
                block += &format!("{line}\n");
            }
        } else {
            while let Some(line) = lines.next_if(|line| line.starts_with("    ")) {
                block += &format!("{}\n", &line[4..]);
            }
        }
        assert!(!block.is_empty(), "there is no block after {line}");
        match mark.split_once(": ") {
            Some(("file", name)) => blocks.push(Block::File(name.to_owned(), block)),
            None if mark == "test" => blocks.push(Block::Commands(block)),
            _ => panic!("{line} is no mark"),
        }
    }
    blocks
}

fn follow(document: &str) {
    let text = fs::read_to_string(Path::new(ROOT).join(document)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut script = "set -eu -o pipefail\n".to_owned();
    for block in blocks(&text) {
        match block {
            Block::File(name, content) => {
                let file = home.path().join(name);
                fs::write(&file, content).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            }
            Block::Commands(commands) => script += &commands,
        }
    }
    let own = home.path().join("jobs.toml");
    let jobs = if own.exists() { own } else { Path::new(ROOT).join("examples/jobs.toml") };
    let dev = Dev::with_jobs(tempfile::tempdir().unwrap(), &jobs, &[]);
    let binary = PathBuf::from(longshore().get_program());
    let paths = [binary.parent().unwrap().to_owned()];
    let path = env::join_paths(
        paths.into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    );
    let mut bash = Command::new("bash");
    bash.arg("-x").arg("-c").arg(script.replace(ADDRESS, &dev.address));
    bash.current_dir(home.path()).env("PATH", path.unwrap()).env("LONGSHORE_SERVER", &dev.address);
    let done = done(&mut bash);
    assert_eq!(done.code, 0, "{document}: {}\n{}", done.stdout, done.stderr);
}

#[test]
fn what_job_authors_are_told_works() {
    follow("docs/jobs.md");
}

#[test]
fn what_api_authors_are_told_works() {
    follow("docs/authors.md");
}
