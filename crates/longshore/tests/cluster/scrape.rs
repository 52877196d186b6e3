//! What the roles show to Prometheus, read as Prometheus reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What one process shows.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Kinds by name.
    pub(crate) kinds: BTreeMap<String, String>,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// An answer's status and body.
pub(crate) async fn http(address: &str, path: &str) -> Result<(String, String), String> {
    ask(address, &format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n")).await
}

/// The status and the body of what a request of HTTP/1.0 is answered.
pub(crate) async fn ask(address: &str, request: &str) -> Result<(String, String), String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(Duration::from_secs(10), asked).await;
    let answer = answer.map_err(|_| "no answer")?.map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP")?;
    let status = head.split(' ').nth(1).ok_or("no status")?;
    Ok((status.to_owned(), body.to_owned()))
}

impl Shown {
    pub(crate) async fn by(address: &str) -> Result<Self, String> {
        let (status, body) = http(address, "/metrics").await?;
        if status != "200" {
            return Err(format!("{address} answers {status}"));
        }
        let mut shown = Self::default();
        for line in body.lines() {
            match line.strip_prefix("# ") {
                Some(comment) => {
                    if let Some((name, kind)) =
                        comment.strip_prefix("TYPE ").and_then(|rest| rest.split_once(' '))
                    {
                        shown.kinds.insert(name.to_owned(), kind.to_owned());
                    }
                }
                None => {
                    let read = sample(line).ok_or_else(|| format!("can't read {line}"))?;
                    shown.samples.push(read);
                }
            }
        }
        Ok(shown)
    }

    /// The labels that a metric has, but for those of its buckets.
    pub(crate) fn labels(&self, name: &str) -> BTreeSet<&str> {
        let family = |sample: &&Sample| sample.family() == name || sample.name == name;
        let labels = self.samples.iter().filter(family).flat_map(|sample| sample.labels.keys());
        labels.map(String::as_str).filter(|label| *label != "le").collect()
    }

    /// The values of the samples of that name that have these labels.
    pub(crate) fn values(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        let has = move |sample: &&Sample| {
            let same = |(label, value): &(&str, &str)| {
                sample.labels.get(*label).is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(same)
        };
        self.samples.iter().filter(has).map(|sample| sample.value)
    }
}

impl Sample {
    /// The name of the metric if this is a part of a histogram.
    fn family(&self) -> &str {
        ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| self.name.strip_suffix(part))
            .unwrap_or(&self.name)
    }
}

/// `name{label="value",…} value`, with values that hold no quotes.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let pairs = labels.split("\",").filter(|pair| !pair.is_empty());
    let labels = pairs.map(|pair| {
        let (label, value) = pair.split_once("=\"")?;
        Some((label.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Some(Sample {
        name: name.to_owned(),
        labels: labels.collect::<Option<_>>()?,
        value: value.parse().ok()?,
    })
}
