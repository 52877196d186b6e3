//! `cargo xtask chart` and `cargo xtask deploy`: the chart, the image, the Compose file and the
//! topology, against the real binary and what renders, checks and lints them.

use std::{fs, process::Command};

use anyhow::Result;

use crate::{
    check::Count,
    clients::{
        self, Place,
        client::{self, Client},
    },
    servers,
    shell::{cargo, root, run, which},
};

/// What is checked, apart and together.
const CHART: Client = Client {
    name: "deploy",
    title: "the chart",
    tools: &["python3"],
    pins: &["requirements.txt"],
    install: client::install_python,
    checks: |place| check(place, &["test_chart.py"]),
};
const REST: Client = Client {
    title: "the image, the Compose file and the topology",
    checks: |place| check(place, &["test_compose.py", "test_up.py"]),
    ..CHART
};
const WATCHED: Client = Client {
    title: "dashboards and alerts",
    checks: |place| check(place, &["test_alerts.py", "test_monitoring.py"]),
    ..CHART
};

/// What the chart has copies of, as Helm reads nothing outside of it.
const COPIES: [(&str, &str, &str); 2] = [
    ("deploy/prometheus/rules", "helm/longshore/files/rules", "yml"),
    ("deploy/grafana/dashboards", "helm/longshore/files/dashboards", "json"),
];

/// Checks the chart alone, after bringing its copies up to date if asked to; whether all is well.
pub(crate) fn chart(copy: bool, count: &mut Count) -> Result<bool> {
    if copy {
        copy_all()?;
    }
    check_all(&[CHART], count)
}

/// Checks everything that is deployed; whether all is well.
pub(crate) fn all(count: &mut Count) -> Result<bool> {
    servers::find_or_install_prometheus();
    check_all(&[CHART, REST, WATCHED], count)
}

fn check_all(suites: &[Client], count: &mut Count) -> Result<bool> {
    run("build the binary", &mut cargo(&["build", "--package", "longshore", "--locked"]))?;
    let mut well = true;
    for suite in suites {
        let title = suite.title;
        println!("--- {title}");
        let place = Place {
            sources: root().join("tests").join(suite.name),
            cache: root().join(".cache").join(suite.name),
            address: "",
        };
        if let Some(tool) = suite.tools.iter().find(|tool| which(tool).is_none()) {
            println!("{title}: SKIPPED, {tool} is not on this machine");
            count.skipped += 1;
        } else if let Err(error) = clients::install(suite, &place) {
            println!("{title}: SKIPPED, what checks it can't be installed: {error:#}");
            count.skipped += 1;
        } else {
            well &= clients::verdicts(suite, &place, count)?;
        }
    }
    Ok(well)
}

fn check(place: &Place<'_>, files: &[&str]) -> Command {
    let mut command = client::check_python(place);
    command.args(files);
    // Both beside each other, where cargo puts them.
    if let Ok(ours) = std::env::current_exe() {
        command.env("LONGSHORE_BINARY", ours.with_file_name("longshore"));
        command.env("LONGSHORE_XTASK", ours);
    }
    command
}

fn copy_all() -> Result<()> {
    for (from, to, extension) in COPIES {
        let target = root().join(to);
        fs::create_dir_all(&target)?;
        let files = |folder| -> Result<Vec<_>> {
            let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
            let paths = entries.into_iter().map(|entry| entry.path());
            Ok(paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect())
        };
        for stale in files(target.clone())? {
            fs::remove_file(stale)?;
        }
        for file in files(root().join(from))? {
            if let Some(name) = file.file_name() {
                fs::copy(&file, target.join(name))?;
            }
        }
    }
    Ok(())
}
