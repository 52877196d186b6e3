//! What a URL says about where Redis is.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use crate::store::Error;

const EXPECTED: &str = "the URL must be redis://HOST:PORT[/DB], redis+cluster://HOST:PORT,HOST:PORT,... or \
     redis+sentinel://HOST:PORT,HOST:PORT,.../MASTER_NAME[/DB], \
     with USER:PASSWORD@ before the first host if Redis asks for them";

/// Where Redis is.
pub(super) enum Target {
    Single(ConnectionInfo),
    Cluster(Vec<ConnectionInfo>),
    Sentinel { sentinels: Vec<ConnectionAddr>, master: String, server: RedisConnectionInfo },
}

impl Target {
    /// Takes a URL. What is said about a wrong one has no part of it: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        Self::take(url).ok_or_else(|| Error::Misconfigured(EXPECTED.to_owned()))
    }

    fn take(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        match scheme {
            "redis" | "valkey" | "unix" | "redis+unix" | "valkey+unix" => {
                server(url).map(Self::Single)
            }
            "redis+cluster" | "valkey+cluster" => {
                let (user, hosts) = authority(rest.strip_suffix('/').unwrap_or(rest));
                let nodes = hosts.split(',').map(|host| server(&format!("redis://{user}{host}")));
                nodes.collect::<Option<_>>().map(Self::Cluster)
            }
            "redis+sentinel" | "valkey+sentinel" => {
                let (rest, path) = rest.split_once('/')?;
                let (user, hosts) = authority(rest);
                let (master, db) = path.split_once('/').unwrap_or((path, "0"));
                if master.is_empty() {
                    return None;
                }
                Some(Self::Sentinel {
                    sentinels: hosts.split(',').map(sentinel).collect::<Option<_>>()?,
                    master: master.to_owned(),
                    server: server(&format!("redis://{user}localhost/{db}"))?
                        .redis_settings()
                        .clone(),
                })
            }
            _ => None,
        }
    }
}

/// `USER:PASSWORD@`, or nothing, and the hosts behind it.
fn authority(text: &str) -> (&str, &str) {
    text.split_at(text.rfind('@').map_or(0, |at| at + 1))
}

fn server(url: &str) -> Option<ConnectionInfo> {
    let info = url.into_connection_info().ok()?;
    info.addr().is_supported().then_some(info)
}

fn sentinel(host: &str) -> Option<ConnectionAddr> {
    let behind_brackets = host.rsplit(']').next().unwrap_or(host);
    let port = if behind_brackets.contains(':') { "" } else { ":26379" };
    server(&format!("redis://{host}{port}")).map(|info| info.addr().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_all_forms() {
        let Ok(Target::Single(info)) = Target::parse("redis://joe:secret@db:7000/2") else {
            panic!("single")
        };
        assert_eq!(info.addr(), &ConnectionAddr::Tcp("db".into(), 7000));
        assert_eq!(info.redis_settings().password(), Some("secret"));
        assert_eq!(info.redis_settings().db(), 2);

        let Ok(Target::Cluster(nodes)) = Target::parse("redis+cluster://:secret@a:1,b,[::1]:3/")
        else {
            panic!("cluster")
        };
        let nodes: Vec<_> = nodes
            .iter()
            .map(|node| (node.addr().to_string(), node.redis_settings().password()))
            .collect();
        let expected = ["a:1", "b:6379", "::1:3"].map(|addr| (addr.to_owned(), Some("secret")));
        assert_eq!(nodes, expected);

        let Ok(Target::Sentinel { sentinels, master, server }) =
            Target::parse("redis+sentinel://joe:secret@a:1,b/main/3")
        else {
            panic!("sentinel")
        };
        let sentinels: Vec<_> = sentinels.iter().map(ConnectionAddr::to_string).collect();
        assert_eq!(sentinels, ["a:1", "b:26379"]);
        assert_eq!(master, "main");
        assert_eq!(
            (server.username(), server.password(), server.db()),
            (Some("joe"), Some("secret"), 3)
        );
    }

    #[test]
    fn refuses_others_without_repeating_them() {
        for url in [
            "",
            "db:6379",
            "http://db",
            "redis://joe:secret@db:port",
            "redis+cluster://",
            "redis+cluster://joe:secret@a:1,,b:2",
            "redis+sentinel://joe:secret@a:1",
            "redis+sentinel://joe:secret@a:1/",
            "redis+sentinel://joe:secret@a:1/main/x",
        ] {
            let Err(error) = Target::parse(url) else { panic!("{url} was taken") };
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
