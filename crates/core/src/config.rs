//! Loads settings: from a file, then the environment, then flags, each stronger than the one
//! before.
//!
//! Every setting lies in a section (`[gateway] listen = "…"`), so each variable that holds one has
//! a double underscore (`LONGSHORE_GATEWAY__LISTEN`). Variables without one are not settings:
//! `LONGSHORE_SERVER` is the client commands' business, and Kubernetes itself puts variables such
//! as `LONGSHORE_GATEWAY_PORT` into every pod beside a service of that name.
//!
//! What is wrong stops the start with a message that says where it was set, what it is, and what
//! would have been right. Passwords in URLs are never shown.

mod print;
mod value;

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use ::config::{Config, ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};
use serde::de::DeserializeOwned;

pub use self::print::Extent;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("can't read the settings file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file or a variable is not TOML.
    #[error("{origin} is not valid TOML: {message}")]
    Malformed {
        /// The file or the variable.
        origin: String,
        /// What is wrong, and where.
        message: String,
    },
    /// A variable is not UTF-8.
    #[error("the environment variable {variable} is not UTF-8")]
    NotText {
        /// The variable.
        variable: String,
    },
    /// A key is unknown or its value is not what it should be.
    #[error("{origin}: {key}{}: {message}", value.as_ref().map(|value| format!(" = {value}")).unwrap_or_default())]
    Invalid {
        /// The file, the variable or the flag.
        origin: String,
        /// The setting, `section.name`.
        key: String,
        /// What it was set to, without passwords; none if it is a section or a list.
        value: Option<String>,
        /// What was expected.
        message: String,
    },
    /// A setting without a default is nowhere set.
    #[error("the setting {key} is missing: set it in the file, or as {variable}")]
    Missing {
        /// The setting.
        key: String,
        /// The variable that would set it.
        variable: String,
    },
    /// The layers can't be laid over each other.
    #[error("can't put the settings together")]
    Merge(#[source] ConfigError),
}

/// A setting that a flag gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The flag as users write it, for messages.
    pub flag: &'static str,
    /// The setting, `section.name`.
    pub key: &'static str,
    /// What the flag says.
    pub value: String,
}

/// Loads settings from a TOML file, then from the variables of `environment` that begin with
/// `PREFIX_` and have a double underscore, then from flags.
///
/// Variables are texts; one that begins with `[` or `{` is a TOML array or inline table. An empty
/// one counts as unset.
///
/// # Errors
/// Says what is wrong, where it was set and what was expected.
pub fn load<T: DeserializeOwned>(
    file: Option<&Path>,
    prefix: &'static str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[Override],
) -> Result<T, Error> {
    Merged::gather(file, prefix, environment, flags)?.read()
}

/// What all sources say together, each value with its origin.
#[derive(Clone, Debug)]
pub struct Merged {
    root: Value,
    prefix: &'static str,
}

impl Merged {
    /// Lays the sources over each other; see [`load`].
    ///
    /// # Errors
    /// If one of them can't be read.
    pub fn gather(
        file: Option<&Path>,
        prefix: &'static str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[Override],
    ) -> Result<Self, Error> {
        let mut builder = Config::builder();
        if let Some(path) = file {
            builder = builder.add_source(from_file(path)?);
        }
        let merged = builder
            .add_source(from_environment(prefix, environment)?)
            .add_source(from_flags(flags))
            .build()
            .map_err(Error::Merge)?;
        Ok(Self { root: merged.cache, prefix })
    }

    /// The settings that are meant.
    ///
    /// # Errors
    /// Says what is wrong, where it was set and what was expected.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_path_to_error::deserialize(value::Node(self.root.clone())).map_err(|error| {
            let keys: Vec<String> = error.path().iter().map(ToString::to_string).collect();
            explain(&self.root, self.prefix, &keys, &error.inner().to_string())
        })
    }
}

/// A URL, or several with commas between them, without user names and passwords: for messages.
pub fn redact(urls: &str) -> String {
    // A password may have commas in it, so what stands before an `@` is not taken apart.
    let hide = |part: &str| match part.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => part.to_owned(),
    };
    urls.split("://").map(hide).collect::<Vec<_>>().join("://")
}

/// The settings that one source gives, with their origin in each value.
#[derive(Clone, Debug, Default)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

fn from_file(path: &Path) -> Result<Layer, Error> {
    let text = fs::read_to_string(path)
        .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    parse(&path.display().to_string(), &text).map(Layer)
}

fn from_environment(
    prefix: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Layer, Error> {
    let mut layer = Layer::default();
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let Some(key) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else {
            continue;
        };
        if !key.contains("__") || value.is_empty() {
            continue;
        }
        let key = key.to_ascii_lowercase().replace("__", ".");
        let text = value.to_str().ok_or_else(|| Error::NotText { variable: name.to_owned() })?;
        let origin = format!("the environment variable {name}");
        layer.0.insert(key, from_text(&origin, text)?);
    }
    Ok(layer)
}

fn from_text(origin: &String, text: &str) -> Result<Value, Error> {
    if !text.trim_start().starts_with(['[', '{']) {
        return Ok(Value::new(Some(origin), text));
    }
    let mut table = parse(origin, &format!("value = {text}"))?;
    Ok(table.remove("value").unwrap_or_default())
}

fn from_flags(flags: &[Override]) -> Layer {
    let value =
        |flag: &Override| Value::new(Some(&format!("the flag {}", flag.flag)), flag.value.as_str());
    Layer(flags.iter().map(|flag| (flag.key.to_owned(), value(flag))).collect())
}

fn parse(origin: &String, text: &str) -> Result<Map<String, Value>, Error> {
    FileFormat::Toml.parse(Some(origin), text).map_err(|error| {
        // The parser's own text quotes the line, which may hold a password.
        let message = match error.downcast_ref::<toml::de::Error>() {
            Some(error) => match error.span() {
                Some(span) => format!("line {}: {}", line_of(text, span.start), error.message()),
                None => error.message().to_owned(),
            },
            None => error.to_string(),
        };
        Error::Malformed { origin: origin.clone(), message }
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Says where a value came from that is not right, or which one is missing.
fn explain(merged: &Value, prefix: &str, keys: &[String], message: &str) -> Error {
    let key = keys.join(".").replace(".[", "[");
    if let Some(field) =
        message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
    {
        // The path of what is missing ends with its section.
        let key = if keys.is_empty() { field.to_owned() } else { format!("{key}.{field}") };
        let variable = format!("{prefix}_{}", key.to_ascii_uppercase().replace('.', "__"));
        return Error::Missing { key, variable };
    }
    let value = find(merged, keys);
    let raw = value.and_then(|value| match &value.kind {
        ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => None,
        kind => Some(kind.to_string()),
    });
    let shown =
        raw.as_deref().map(|raw| if is_secret(&key) { "***".to_owned() } else { redact(raw) });
    let message = match (&raw, &shown) {
        (Some(raw), Some(shown)) if raw != shown => message.replace(raw.as_str(), shown),
        _ => message.to_owned(),
    };
    let origin = value.and_then(origin_of).unwrap_or_else(|| "the settings".to_owned());
    Error::Invalid { origin, key, value: shown, message }
}

fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    ["password", "secret", "token"].iter().any(|word| name.contains(word))
}

fn find<'a>(root: &'a Value, keys: &[String]) -> Option<&'a Value> {
    keys.iter().try_fold(root, |value, key| match &value.kind {
        ValueKind::Table(table) => table.get(key),
        ValueKind::Array(array) => array.get(key.trim_matches(['[', ']']).parse::<usize>().ok()?),
        _ => None,
    })
}

/// A section that several layers fill has no origin of its own; any value in it has.
fn origin_of(value: &Value) -> Option<String> {
    value.origin().map(str::to_owned).or_else(|| match &value.kind {
        ValueKind::Table(table) => table.values().find_map(origin_of),
        ValueKind::Array(array) => array.iter().find_map(origin_of),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
