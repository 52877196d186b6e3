//! Seeds hold, the same seed is the same history, and planted bugs are found.

use clap::ValueEnum;
use longshore_sim::{Bug, run};

#[test]
fn seeds_hold() {
    // Every check runs many more of them, in a profile that is fast.
    for seed in 0..20 {
        if let Some(failure) = run(seed, None).failure {
            panic!("seed {seed} fails: {failure}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..10 {
        assert!(run(seed, None) == run(seed, None), "seed {seed} has two histories");
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in Bug::value_variants() {
        let found = (0..300).find_map(|seed| run(seed, Some(*bug)).failure);
        let what = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("{bug:?}: {}", what.lines().next().unwrap_or_default());
    }
}
