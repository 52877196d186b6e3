//! The command shows its cases, and refuses what it does not know.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeSet, process::Command};

use longshore_chaos::cases;

fn chaos(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore-chaos"));
    let output = command.args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_case_is_listed_under_its_own_name() {
    let (well, list) = chaos(&["--list"]);
    assert!(well);
    let names: BTreeSet<&str> = list
        .lines()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let all = cases::all();
    assert_eq!(names, all.iter().map(|case| case.name).collect());
    assert_eq!(names.len(), all.len(), "two cases have the same name");
    let (_, quick) = chaos(&["--list", "--quick"]);
    assert!(quick.len() < list.len());
}

#[test]
fn an_unknown_case_is_a_failure() {
    let (well, said) = chaos(&["--case", "no-such-case"]);
    assert!(!well);
    assert!(said.contains("no such case"), "{said}");
}
