//! The command line: what can be said, not what is done about it.

mod admin;
mod client;
mod role;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use admin::{
    Admin, Audit, Backup, Clear, Config, Drain, Move, Pause, Print, Queues, Records, ReportFormat,
    Restore, Site, Workers,
};
pub(crate) use client::{Connection, Format, Input, List, Named, Priority, Run, Wait};
pub(crate) use role::{Demo, Dev, Flags, Gateway, Probe, State, Worker};

/// Follows slow work by google.longrunning.Operations: submit jobs, run them on workers, watch,
/// wait for, cancel and delete their operations.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Files with types of messages of your own, as encoded google.protobuf.FileDescriptorSets.
    #[arg(
        long,
        global = true,
        env = "LONGSHORE_TYPES",
        value_delimiter = ',',
        value_name = "FILE"
    )]
    pub types: Vec<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the main job on a real one: run it, follow it, cancel it.
    Demo(Demo),
    /// Serves everything in one process, with nothing else to install.
    Dev(Dev),
    /// Serves the API.
    Gateway(Gateway),
    /// Answers workers, applies their events, fires timers.
    State(State),
    /// Runs jobs.
    Worker(Worker),
    /// Asks a role that runs whether it is ready, for health checks.
    Probe(Probe),
    /// Looks after an installation, by way of its servers.
    #[command(subcommand)]
    Admin(Admin),
    /// Submits a job and shows its operation.
    Run(Box<Run>),
    /// Shows an operation.
    Get(Named),
    /// Lists operations, newest first.
    List(List),
    /// Waits until an operation has ended.
    Wait(Wait),
    /// Shows an operation's progress until it has ended.
    Watch(Named),
    /// Asks for the work of an operation to stop.
    Cancel(Named),
    /// Forgets an operation, without stopping its work.
    Delete(Named),
}

impl Command {
    /// Whether it reads settings, which may name types of messages too.
    pub(crate) fn reads_settings(&self) -> bool {
        matches!(
            self,
            Self::Dev(_) | Self::Gateway(_) | Self::State(_) | Self::Worker(_) | Self::Admin(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use clap::{CommandFactory, Parser, error::ErrorKind};

    use super::{Cli, Command};

    #[test]
    fn is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_says_what_it_does() {
        for command in Cli::command().get_subcommands() {
            for option in command.get_arguments() {
                assert!(option.get_help().is_some(), "{} {}", command.get_name(), option.get_id());
            }
        }
    }

    #[test]
    fn a_bare_id_names_an_operation_without_a_parent() {
        let parse = |name: &str| match Cli::parse_from(["longshore", "get", name]).command {
            Command::Get(named) => named.name,
            other => panic!("{other:?}"),
        };
        assert_eq!(parse("abc"), "operations/abc");
        assert_eq!(parse("projects/p/operations/abc"), "projects/p/operations/abc");
    }

    /// The command lines in the code blocks of a document. Outlines of what can be said, with
    /// brackets and bars, are none.
    fn command_lines(text: &str) -> Vec<Vec<String>> {
        let mut fenced = false;
        let mut code = String::new();
        for line in text.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            } else if fenced || line.starts_with("    ") {
                code += line.trim().strip_suffix('\\').unwrap_or(&format!("{}\n", line.trim()));
            }
        }
        let lines = code.lines().filter_map(|line| {
            let line = line.strip_prefix("./target/release/").unwrap_or(line);
            // What is done, behind the command in a column of its own.
            let line = line.split("   ").next()?;
            let is_outline = [" [", "…", "dev|", "run|"].iter().any(|part| line.contains(part));
            if is_outline || !line.starts_with("longshore ") {
                return None;
            }
            let words = shlex::split(line).unwrap_or_else(|| panic!("open quotes: {line}"));
            let end =
                words.iter().position(|word| matches!(&**word, "|" | ">" | "2>" | "&" | "||"));
            Some(words[..end.unwrap_or(words.len())].to_vec())
        });
        lines.collect()
    }

    #[test]
    fn the_documents_speak_of_commands_that_there_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let docs = ["docs", "docs/runbooks", "examples", "."].iter();
        let files = docs.filter_map(|dir| fs::read_dir(root.join(dir)).ok()).flatten();
        let mut count = 0;
        for file in files.map(|file| file.unwrap().path()) {
            if file.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            for words in command_lines(&fs::read_to_string(&file).unwrap()) {
                count += 1;
                match Cli::try_parse_from(&words) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::DisplayHelp => {}
                    Err(error) => panic!("{}: {}: {error}", file.display(), words.join(" ")),
                }
            }
        }
        assert!(count > 20, "only {count} command lines were found");
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |line: &str| Cli::try_parse_from(line.split(' ')).is_err();
        assert!(refused("longshore run hash --input {} --typed-input {}"));
        assert!(refused("longshore run hash --at 2030-01-01T00:00:00Z --delay 1s"));
        assert!(refused("longshore run hash --label novalue"));
        assert!(refused("longshore run hash --delay soon"));
        assert!(refused("longshore run hash --wait --watch"));
        assert!(refused("longshore get"));
        assert!(refused("longshore"));
    }
}
