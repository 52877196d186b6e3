//! An installation of real processes.

mod member;
mod plan;

use std::{collections::BTreeMap, path::PathBuf, process::ExitStatus, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use longshore_testkit::{Process, Proxy, eventually, free_port};
use nix::sys::signal::Signal;
use tonic::transport::{Channel, Endpoint};

use crate::{attempts::Attempts, case::Scene, client::Client, history::History};
pub use member::Usage;
pub use plan::{Backend, Plan, Role};

/// A ceiling for what a role does, on a machine under load; not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The lease that sites have unless their plan says otherwise.
pub const LEASE: Duration = Duration::from_secs(2);

/// An installation: roles as processes, by names such as `worker-1`. Dropping it kills them all.
pub struct Site {
    plan: Plan,
    dir: PathBuf,
    longshore: PathBuf,
    members: BTreeMap<String, Member>,
    links: BTreeMap<(String, Backend), Proxy>,
    attempts: Attempts,
    history: Arc<History>,
}

struct Member {
    role: Role,
    /// Where a gateway listens, always the same.
    port: u16,
    process: Option<Process>,
    /// Settings of its own, as variables.
    variables: Vec<(String, String)>,
}

impl Site {
    /// Starts what is planned and waits until the gateways serve.
    ///
    /// # Errors
    /// If a file can't be written.
    pub async fn start(scene: &Scene, plan: Plan) -> Result<Self> {
        let mut links = BTreeMap::new();
        for (number, (name, backend)) in plan.links.iter().enumerate() {
            let port = plan.port(*backend)?;
            let proxy = Proxy::start(port, scene.seed.wrapping_add(number as u64)).await;
            links.insert((name.clone(), *backend), proxy);
        }
        let mut site = Self {
            plan,
            dir: scene.dir().to_owned(),
            longshore: scene.longshore.clone(),
            members: BTreeMap::new(),
            links,
            attempts: Attempts::at(scene.dir().join("attempts")),
            history: Arc::default(),
        };
        std::fs::write(site.jobs_file(), site.plan.jobs(site.attempts.path())?)?;
        for role in Role::ALL {
            for number in 1..=site.plan.count(role) {
                let port = if role == Role::Gateway { free_port() } else { 0 };
                let member = Member { role, port, process: None, variables: Vec::new() };
                site.members.insert(format!("{role}-{number}"), member);
            }
        }
        for name in site.names() {
            site.launch(&name);
        }
        for name in site.names_of(Role::Gateway) {
            site.served(&name).await;
        }
        Ok(site)
    }

    /// The names of all roles.
    pub fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// The names of all of one role.
    pub fn names_of(&self, role: Role) -> Vec<String> {
        let of_role = self.members.iter().filter(|(_, member)| member.role == role);
        of_role.map(|(name, _)| name.clone()).collect()
    }

    /// What the attempts of all its workers have written down.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// What clients were told.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// A client of all gateways in turns, as behind a balancer.
    pub fn client(&self) -> Client {
        let gateways = self.names_of(Role::Gateway);
        Client::new(gateways.iter().map(|name| self.channel(name)).collect(), self.history.clone())
    }

    /// A client of one gateway.
    pub fn client_of(&self, gateway: &str) -> Client {
        Client::new(vec![self.channel(gateway)], self.history.clone())
    }

    /// A connection to a gateway, which connects when it is used.
    ///
    /// # Panics
    /// If there is no such gateway.
    pub fn channel(&self, gateway: &str) -> Channel {
        let address = format!("http://{}", self.address(gateway));
        let endpoint = Endpoint::from_shared(address).expect("an address is a URI");
        // What hangs is as bad as what fails; waits ask for less.
        endpoint.connect_timeout(Duration::from_secs(5)).connect_lazy()
    }

    /// Where a gateway listens, as `HOST:PORT`.
    pub fn address(&self, gateway: &str) -> String {
        format!("127.0.0.1:{}", self.member(gateway).port)
    }

    /// The network between a role and a server, if the plan says that it can fail.
    ///
    /// # Panics
    /// If it does not.
    pub fn link(&mut self, name: &str, backend: Backend) -> &mut Proxy {
        let link = self.links.get_mut(&(name.to_owned(), backend));
        link.unwrap_or_else(|| panic!("the plan has no proxy between {name} and {backend:?}"))
    }

    /// All networks that can fail.
    pub fn links(&mut self) -> impl Iterator<Item = (&(String, Backend), &mut Proxy)> {
        self.links.iter_mut()
    }

    /// Settings of one role, as variables, for when it starts next.
    pub fn set_variables(&mut self, name: &str, variables: &[(&str, &str)]) {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        self.member_mut(name).variables = variables.iter().map(own).collect();
    }

    /// Ends a role by SIGKILL. What it has sent and a proxy holds is lost with it.
    pub fn kill(&mut self, name: &str) {
        self.member_mut(name).process = None;
        for (_, link) in self.links().filter(|((of, _), _)| of == name) {
            link.cut();
        }
    }

    /// Ends a role by SIGTERM and waits for its end.
    ///
    /// # Errors
    /// If it was not running.
    pub async fn terminate(&mut self, name: &str) -> Result<ExitStatus> {
        let member = self.member_mut(name);
        let process = member.process.as_mut().context("the role does not run")?;
        process.signal(Signal::SIGTERM);
        let status = eventually(PATIENCE, || {
            let status = process.exit_status();
            async move { status.ok_or("it runs on after SIGTERM") }
        })
        .await;
        member.process = None;
        Ok(status)
    }

    /// Stops a role where it is, by SIGSTOP. Its children run on.
    pub fn freeze(&self, name: &str) {
        self.signal(name, Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self, name: &str) {
        self.signal(name, Signal::SIGCONT);
    }

    /// Starts a role again; kills it if it runs.
    pub fn restart(&mut self, name: &str) {
        self.launch(name);
    }

    /// Starts again all that have ended by themselves or were killed, as a supervisor does, and
    /// returns their names.
    pub fn restart_ended(&mut self) -> Vec<String> {
        let ended: Vec<String> =
            self.names().into_iter().filter(|name| !self.is_running(name)).collect();
        for name in &ended {
            self.launch(name);
        }
        ended
    }

    /// Whether a role's process is there.
    pub fn is_running(&mut self, name: &str) -> bool {
        self.member_mut(name).process.as_mut().is_some_and(|process| !process.has_ended())
    }

    /// The number of a role's process; `None` if it has been ended.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.member(name).process.as_ref().map(Process::pid)
    }

    /// Whose process this is.
    pub fn name_of(&self, pid: u32) -> Option<String> {
        self.members
            .iter()
            .find(|(_, member)| member.process.as_ref().is_some_and(|own| own.pid() == pid))
            .map(|(name, _)| name.clone())
    }

    /// What each running role takes of the machine.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn usage(&self) -> Result<BTreeMap<String, Usage>> {
        let mut usage = BTreeMap::new();
        for name in self.members.keys() {
            if let Some(pid) = self.pid(name) {
                usage.insert(name.clone(), Usage::of(pid)?);
            }
        }
        Ok(usage)
    }

    /// Waits until a gateway accepts connections.
    pub async fn served(&self, gateway: &str) {
        let address = self.address(gateway);
        eventually(PATIENCE, || tokio::net::TcpStream::connect(&address)).await;
    }

    /// Waits until a role has written this into its log.
    pub async fn said(&self, name: &str, text: &str) {
        let path = self.dir.join(format!("{name}.log"));
        eventually(PATIENCE, || async {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            if log.contains(text) { Ok(()) } else { Err(format!("{name} has not said {text:?}")) }
        })
        .await;
    }

    /// Ends all faults of the network and starts all that has ended, and checks that each role runs.
    ///
    /// # Errors
    /// If one does not.
    pub async fn heal(&mut self) -> Result<()> {
        for (_, link) in self.links() {
            link.heal().await;
        }
        for name in self.names() {
            self.thaw(&name);
        }
        self.restart_ended();
        for name in self.names_of(Role::Gateway) {
            self.served(&name).await;
        }
        for name in self.names() {
            ensure!(self.is_running(&name), "{name} does not stay up");
        }
        Ok(())
    }

    fn signal(&self, name: &str, signal: Signal) {
        if let Some(process) = &self.member(name).process {
            process.signal(signal);
        }
    }

    fn jobs_file(&self) -> PathBuf {
        self.dir.join("jobs.toml")
    }

    fn member(&self, name: &str) -> &Member {
        self.members.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    fn member_mut(&mut self, name: &str) -> &mut Member {
        self.members.get_mut(name).unwrap_or_else(|| panic!("there is no {name}"))
    }
}
