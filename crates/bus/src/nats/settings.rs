use std::{fmt, path::PathBuf, time::Duration};

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

/// Where NATS is, and how the streams are made.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The servers, separated by commas: `nats://HOST:PORT`, or `tls://…`; with `USER:PASSWORD@`
    /// before the host if they ask for it, all for the same.
    pub url: String,
    /// A credentials file (JWT and NKey seed).
    pub credentials: Option<PathBuf>,
    /// What the connection is called in the server's monitoring.
    pub name: String,
    /// How many servers keep each stream, 1 to 5. Like the limits it counts when a stream is made,
    /// and does not change one that exists.
    pub replicas: u8,
    /// The most bytes that the stream of hints may have; more are refused. No limit by default.
    pub jobs_max_bytes: Option<u64>,
    /// The most bytes that the stream of events may have; more are refused. No limit by default.
    pub events_max_bytes: Option<u64>,
    /// How long a delivery may stay unsettled; for tests.
    #[doc(hidden)]
    #[serde(skip)]
    pub ack_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            credentials: None,
            name: "longshore".to_owned(),
            replicas: 1,
            jobs_max_bytes: None,
            events_max_bytes: None,
            ack_wait: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// The servers one by one.
    pub(super) fn servers(&self) -> Vec<String> {
        self.url.split(',').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()).collect()
    }

    /// User and password, which the client library does not take from the URL.
    pub(super) fn login(&self) -> Option<(String, String)> {
        self.servers().iter().find_map(|url| {
            let address: ServerAddr = url.parse().ok()?;
            let plain = |part| percent_decode_str(part).decode_utf8_lossy().into_owned();
            Some((plain(address.username()?), plain(address.password()?)))
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without user and password.
        let hosts: Vec<_> = self
            .servers()
            .iter()
            .map(|url| url.rsplit(['@', '/']).next().unwrap_or_default().to_owned())
            .collect();
        f.debug_struct("Settings")
            .field("hosts", &hosts)
            .field("credentials", &self.credentials)
            .field("name", &self.name)
            .field("replicas", &self.replicas)
            .field("jobs_max_bytes", &self.jobs_max_bytes)
            .field("events_max_bytes", &self.events_max_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn secrets_are_not_printed() {
        let url = "nats://me:secret@one:4222, tls://two".to_owned();
        let printed = format!("{:?}", Settings { url, ..Settings::default() });
        assert!(printed.contains(r#"["one:4222", "two"]"#), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
    }

    #[test]
    fn the_login_is_taken_from_the_url() {
        let url = "nats://one, nats://me:p%40ss@two".to_owned();
        let settings = Settings { url, ..Settings::default() };
        assert_eq!(settings.login(), Some(("me".to_owned(), "p@ss".to_owned())));
        assert_eq!(Settings::default().login(), None);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<Settings>(r#"{"urls":"x"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `urls`"), "{error}");
    }
}
