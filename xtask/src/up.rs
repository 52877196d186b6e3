//! `cargo xtask up`: the topology of `docker-compose.yml` as plain processes, with the same settings
//! of nginx and NATS, for machines where no containers run.
#![expect(clippy::disallowed_types, reason = "nothing here is asynchronous")]

mod process;

use std::{
    env, fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    runtime, select,
    signal::unix::{SignalKind, signal},
};

use self::process::{Process, Tier};
use crate::{
    servers,
    shell::{cargo, command, root, run, which},
};

/// How long everything may take to be ready.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What is to run.
#[derive(clap::Args)]
pub(crate) struct Site {
    /// Where HTTP/JSON is served.
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    http: u16,
    /// Where gRPC is served.
    #[arg(long, default_value_t = 8081, value_name = "PORT")]
    grpc: u16,
    /// How many workers.
    #[arg(long, default_value_t = 2, value_name = "NUMBER")]
    workers: usize,
    /// The jobs that they run.
    #[arg(long, default_value = "examples/jobs.toml", value_name = "FILE")]
    jobs: PathBuf,
    /// Where data and logs are kept.
    #[arg(long, default_value = ".cache/up", value_name = "DIR")]
    data: PathBuf,
    /// Runs an optimized build.
    #[arg(long)]
    release: bool,
}

/// Runs it all until a signal comes, or something can't be kept running.
pub(crate) fn run_all(site: &Site) -> Result<bool> {
    let binary = build(site.release)?;
    let data = root().join(&site.data);
    fs::create_dir_all(&data)?;
    let lock = fs::File::create(data.join("lock"))?;
    lock.try_lock().with_context(|| format!("another one runs in {}", data.display()))?;

    let signals = signals()?;
    let mut plan = Plan { site, binary, data, processes: Vec::new() };
    let done = plan.start().and_then(|urls| plan.watch(&signals, &urls));
    println!("ending all; once more ends it at once");
    process::stop(&mut plan.processes, &signals);
    done.map(|()| true)
}

fn build(release: bool) -> Result<PathBuf> {
    let mut arguments = vec!["build", "--quiet", "--package", "longshore", "--locked"];
    if release {
        arguments.push("--release");
    }
    run("build the binary", &mut cargo(&arguments))?;
    // Cargo puts this program and the other beside each other, or into folders beside each other.
    let ours = env::current_exe()?;
    let folder = ours.parent().context("no folder")?;
    let profile = if release { folder.with_file_name("release") } else { folder.to_path_buf() };
    Ok(profile.join("longshore"))
}

/// The signals that are to end all, from now on.
fn signals() -> Result<Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    // Caught, not blocked: what a process blocks stays blocked in those that it starts.
    let mut caught = {
        let _inside = runtime.enter();
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        (signal(interrupt)?, signal(terminate)?, signal(SignalKind::hangup())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                select! {
                    _ = caught.0.recv() => {}
                    _ = caught.1.recv() => {}
                    _ = caught.2.recv() => {}
                }
                if sender.send(()).is_err() {
                    break;
                }
            }
        });
    });
    Ok(receiver)
}

struct Plan<'a> {
    site: &'a Site,
    binary: PathBuf,
    data: PathBuf,
    processes: Vec<Process>,
}

impl Plan<'_> {
    /// Starts everything and returns what to tell of it.
    fn start(&mut self) -> Result<Vec<(String, String)>> {
        let found = servers::find_or_install()?;
        let nats_server = found.newest_nats.as_ref().unwrap_or(&found.nats).clone();
        let (redis, nats, monitor) = (free_port()?, free_port()?, free_port()?);
        self.start_redis(&found.redis, redis)?;
        self.start_nats(&nats_server, nats, monitor)?;

        let nginx = which("nginx");
        let redis = format!("redis://127.0.0.1:{redis}");
        let nats = format!("nats://127.0.0.1:{nats}");
        let mut urls = vec![
            ("redis".to_owned(), redis.clone()),
            ("nats".to_owned(), format!("{nats} http://127.0.0.1:{monitor}")),
        ];
        let mut gateways = Vec::new();
        let mut admins = Vec::new();
        for number in 1..=2 {
            let arguments = ["state", "--redis", &redis, "--nats", &nats];
            admins.push(self.start_role(Tier::State, format!("state-{number}"), &arguments)?);
        }
        for number in 1..=2 {
            // Without a proxy the first takes its place.
            let stands_in = nginx.is_none() && number == 1;
            let port = if stands_in { self.site.http } else { free_port()? };
            let listen = format!("127.0.0.1:{port}");
            let arguments = ["gateway", "--listen", &listen, "--redis", &redis, "--nats", &nats];
            admins.push(self.start_role(Tier::Gateway, format!("gateway-{number}"), &arguments)?);
            urls.push((format!("gateway-{number}"), format!("http://{listen}")));
            gateways.push(listen);
        }
        let jobs = root().join(&self.site.jobs);
        let jobs = jobs.to_string_lossy();
        for number in 1..=self.site.workers {
            let arguments = ["worker", "--nats", &nats, "--jobs", &jobs];
            admins.push(self.start_role(Tier::Edge, format!("worker-{number}"), &arguments)?);
        }
        let grpc = match nginx {
            Some(nginx) => {
                self.start_nginx(&nginx, &gateways)?;
                self.site.grpc
            }
            None => {
                println!("there is no nginx: the first gateway stands in for it");
                self.site.http
            }
        };
        urls.push(("HTTP/JSON".to_owned(), format!("http://127.0.0.1:{}", self.site.http)));
        urls.push(("gRPC".to_owned(), format!("http://127.0.0.1:{grpc}")));
        match which("prometheus") {
            Some(prometheus) => {
                let url = self.start_prometheus(&prometheus, &admins)?;
                urls.push(("prometheus".to_owned(), url));
            }
            None => println!("there is no prometheus: nobody reads the metrics"),
        }
        urls.extend(
            admins.into_iter().map(|(name, address)| {
                (format!("{name} admin"), format!("http://{address}/readyz"))
            }),
        );
        Ok(urls)
    }

    fn start_redis(&mut self, program: &Path, port: u16) -> Result<()> {
        let folder = self.folder("redis")?;
        let mut command = command(program, &["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.arg("--dir").arg(folder);
        command.args(["--appendonly", "yes", "--maxmemory-policy", "noeviction"]);
        self.add(Tier::Server, "redis".to_owned(), command)
    }

    fn start_nats(&mut self, program: &Path, port: u16, monitor: u16) -> Result<()> {
        let folder = self.folder("nats")?;
        let settings = fs::read_to_string(root().join("deploy/nats/nats.conf"))?
            .replace("0.0.0.0:4222", &format!("127.0.0.1:{port}"))
            .replace("0.0.0.0:8222", &format!("127.0.0.1:{monitor}"))
            .replace("/data", &folder.to_string_lossy());
        let path = self.data.join("nats.conf");
        fs::write(&path, settings)?;
        let mut command = command(program, &["--config"]);
        command.arg(path);
        self.add(Tier::Server, "nats".to_owned(), command)
    }

    fn start_nginx(&mut self, program: &Path, gateways: &[String]) -> Result<()> {
        let folder = self.folder("nginx")?;
        let mut settings = fs::read_to_string(root().join("deploy/nginx/nginx.conf"))?
            .replace("listen 8080", &format!("listen 127.0.0.1:{}", self.site.http))
            .replace("listen 8081", &format!("listen 127.0.0.1:{}", self.site.grpc))
            .replace("/tmp/", &format!("{}/", folder.to_string_lossy()));
        for (number, gateway) in (1..).zip(gateways) {
            settings = settings.replace(&format!("gateway-{number}:8080"), gateway);
        }
        let path = self.data.join("nginx.conf");
        fs::write(&path, settings)?;
        let mut command = command(program, &["-e", "stderr", "-g", "daemon off;", "-p"]);
        command.arg(folder).arg("-c").arg(path);
        self.add(Tier::Edge, "nginx".to_owned(), command)
    }

    fn start_prometheus(&mut self, program: &Path, admins: &[(String, String)]) -> Result<String> {
        let folder = self.folder("prometheus")?;
        let rules = root().join("deploy/prometheus/rules/*.yml");
        let mut settings = format!(
            "global: {{scrape_interval: 5s, evaluation_interval: 5s}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n- job_name: longshore\n  static_configs:\n",
            rules.display()
        );
        for (name, address) in admins {
            let role = name.split('-').next().unwrap_or_default();
            settings += &format!("  - {{targets: ['{address}'], labels: {{role: {role}}}}}\n");
        }
        let path = self.data.join("prometheus.yml");
        fs::write(&path, settings)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = command(program, &[]);
        command.arg(format!("--config.file={}", path.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.display()));
        command.arg(format!("--web.listen-address={address}"));
        self.add(Tier::Edge, "prometheus".to_owned(), command)?;
        Ok(format!("http://{address}"))
    }

    /// Starts a role and returns its name and where it answers the platform.
    fn start_role(
        &mut self,
        tier: Tier,
        name: String,
        arguments: &[&str],
    ) -> Result<(String, String)> {
        let admin = format!("127.0.0.1:{}", free_port()?);
        let mut command = command(&self.binary, arguments);
        command.args(["--admin-listen", &admin]).env("LONGSHORE_WORKER__NAME", &name);
        self.add(tier, name.clone(), command)?;
        Ok((name, admin))
    }

    fn add(&mut self, tier: Tier, name: String, command: Command) -> Result<()> {
        self.processes.push(Process::start(tier, name, command, &self.data)?);
        Ok(())
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.data.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Tells when everything is ready, and keeps it running until a signal comes.
    fn watch(&mut self, signals: &Receiver<()>, urls: &[(String, String)]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut is_ready = false;
        loop {
            match signals.recv_timeout(LOOK) {
                Ok(_) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("signals can't be heard"),
            }
            for process in &mut self.processes {
                process.revive()?;
            }
            if !is_ready {
                let asked = urls.iter().filter(|(_, url)| url.ends_with("/readyz"));
                let missing: Vec<_> = asked.filter(|(_, url)| !answers(url)).collect();
                is_ready = missing.is_empty();
                if is_ready {
                    self.tell(urls)?;
                } else if Instant::now() > deadline {
                    bail!("not ready: {missing:?}; the logs are in {}", self.data.display());
                }
            }
        }
    }

    fn tell(&self, urls: &[(String, String)]) -> Result<()> {
        println!();
        for (name, url) in urls {
            println!("{name:17} {url}");
        }
        let ids: Vec<_> = self.processes.iter().map(|p| format!("{}={}", p.name, p.id())).collect();
        println!("{:17} {}", "processes", ids.join(" "));
        println!("{:17} {}", "data and logs", self.data.display());
        println!("\nLongshore is up. Ctrl-C ends it all.");
        std::io::stdout().flush()?;
        Ok(())
    }
}

/// A port that nobody has at the moment.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Whether a GET is answered with 200.
fn answers(url: &str) -> bool {
    let Some((address, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let ask = || -> Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /{path} HTTP/1.0\r\nhost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split(' ').nth(1) == Some("200"))
    };
    ask().unwrap_or(false)
}
