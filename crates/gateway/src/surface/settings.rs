//! Surfaces as they are configured.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use longshore_core::filter;
use serde::{Deserialize, Serialize};

use super::{Pattern, Surface};
use crate::{
    http::is_version,
    settings::{LARGEST_PAGE, Settings, SettingsError},
};

/// How operations appear under one API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SurfaceSettings {
    /// The API's name in discovery documents and errors: `[a-z][a-z0-9-]*`.
    pub name: String,
    /// The API's name for people.
    pub title: String,
    /// The versions in HTTP paths that belong to it, such as `v1`; any if there are none.
    pub versions: Vec<String>,
    /// The hosts that it is called under, without ports; any if there are none.
    pub hosts: Vec<String>,
    /// Which names its operations have: patterns such as `projects/*/locations/*/operations/*`,
    /// where `*` is one segment and `**` any number of them.
    pub names: Vec<String>,
    /// Its methods; all if absent. Others answer `UNIMPLEMENTED`.
    pub methods: Option<BTreeMap<Method, MethodSettings>>,
    /// The OAuth scopes that the API knows.
    pub scopes: Vec<Scope>,
    /// What an operation's metadata is.
    pub metadata: Metadata,
    /// With `details`: the type that jobs report, so that there is metadata before they do.
    pub metadata_type: Option<String>,
    /// The longest that `WaitOperation` waits; the gateway's if absent.
    #[serde(with = "humantime_serde")]
    pub max_wait: Option<Duration>,
    /// How many operations a page has if the client doesn't say; the gateway's if absent.
    pub default_page_size: Option<u32>,
    /// How many operations a page has at most; the gateway's if absent.
    pub max_page_size: Option<u32>,
    /// The fields that filters may speak of; all if absent.
    pub filter_fields: Option<BTreeSet<String>>,
    /// Where clients reach it, such as `https://example.com/`, for discovery documents; by default
    /// wherever the document is asked for.
    pub root_url: Option<String>,
}

impl Default for SurfaceSettings {
    fn default() -> Self {
        Self {
            name: "longshore".to_owned(),
            title: String::new(),
            versions: Vec::new(),
            hosts: Vec::new(),
            names: vec!["**/operations/*".to_owned()],
            methods: None,
            scopes: Vec::new(),
            metadata: Metadata::Typed,
            metadata_type: None,
            max_wait: None,
            default_page_size: None,
            max_page_size: None,
            filter_fields: None,
            root_url: None,
        }
    }
}

/// What an operation's metadata is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metadata {
    /// `longshore.v1.OperationMetadata`.
    Typed,
    /// The same content as a `google.protobuf.Struct`, which more clients know.
    Struct,
    /// What the job itself reports.
    Details,
    /// Nothing.
    None,
}

/// A method that operations may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// `ListOperations`.
    List,
    /// `GetOperation`.
    Get,
    /// `DeleteOperation`.
    Delete,
    /// `CancelOperation`.
    Cancel,
    /// `WaitOperation`.
    Wait,
    /// `RunJob`.
    Run,
    /// `WatchOperation`.
    Watch,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::List, Self::Get, Self::Delete, Self::Cancel, Self::Wait, Self::Run, Self::Watch];

    /// As settings and discovery documents have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::Cancel => "cancel",
            Self::Wait => "wait",
            Self::Run => "run",
            Self::Watch => "watch",
        }
    }
}

/// What is said about a method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MethodSettings {
    /// What a caller must be permitted to do.
    pub permission: Option<String>,
    /// The scopes of which a caller needs one; any of the surface's if absent.
    pub scopes: Option<Vec<String>>,
    /// Whether documents show a request body where the method may have one; without it parameters
    /// are in the query. Both are served.
    pub body: bool,
}

impl Default for MethodSettings {
    fn default() -> Self {
        Self { permission: None, scopes: None, body: true }
    }
}

/// An OAuth scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Its name, a URL.
    pub url: String,
    /// What it allows, for people.
    #[serde(default)]
    pub description: String,
}

impl SurfaceSettings {
    /// The surface that is meant.
    ///
    /// # Errors
    /// For the first value that can't be.
    pub(super) fn surface(&self, settings: &Settings) -> Result<Surface, SettingsError> {
        self.check_names()?;
        let default_page_size = self.default_page_size.unwrap_or(settings.default_page_size);
        let max_page_size = self.max_page_size.unwrap_or(settings.max_page_size);
        let bounds = format!("must be from 1 to {LARGEST_PAGE}");
        self.require((1..=LARGEST_PAGE).contains(&max_page_size), "max_page_size", bounds)?;
        let is_page = (1..=max_page_size).contains(&default_page_size);
        self.require(is_page, "default_page_size", "must be from 1 to max_page_size")?;
        let max_wait = self.max_wait.unwrap_or(settings.max_wait);
        self.require(!max_wait.is_zero(), "max_wait", "must be more than 0")?;

        let names = self.names.iter().map(|text| {
            let pattern = Pattern::parse(text);
            pattern.map_err(|why| self.wrong("names", format!("has {text:?}, which {why}")))
        });
        let methods = match &self.methods {
            Some(methods) => methods.clone(),
            None => Method::ALL.map(|method| (method, MethodSettings::default())).into(),
        };
        Ok(Surface {
            name: self.name.clone(),
            title: if self.title.is_empty() { self.name.clone() } else { self.title.clone() },
            versions: self.versions.clone(),
            hosts: self.hosts.clone(),
            names: names.collect::<Result<_, _>>()?,
            methods,
            scopes: self.scopes.clone(),
            root_url: self.root_url.clone(),
            max_wait,
            default_page_size,
            max_page_size,
            filter_fields: self.filter_fields.clone(),
            metadata: self.metadata,
            metadata_type: self.metadata_type.clone(),
        })
    }

    fn check_names(&self) -> Result<(), SettingsError> {
        let is_name = self.name.starts_with(|c: char| c.is_ascii_lowercase())
            && self.name.len() <= 63
            && self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        self.require(is_name, "name", "must be a letter and then at most 62 of a-z, 0-9 and -")?;
        for version in &self.versions {
            let problem = format!("has {version:?}, which is none: they are like v1 or v1beta1");
            self.require(is_version(version), "versions", problem)?;
        }
        for host in &self.hosts {
            let is_host =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.[]:".contains(&b);
            let has_port = host.contains(':') && !host.ends_with(']');
            let problem = format!("has {host:?}: it must be a host in lower case, without a port");
            let is_plain = !host.is_empty() && host.bytes().all(is_host) && !has_port;
            self.require(is_plain, "hosts", problem)?;
        }
        self.require(!self.names.is_empty(), "names", "must have a pattern")?;
        let has_methods = self.methods.as_ref().is_none_or(|methods| !methods.is_empty());
        self.require(has_methods, "methods", "must have a method")?;
        for scope in
            self.methods.iter().flatten().flat_map(|(_, method)| method.scopes.iter().flatten())
        {
            let problem =
                format!("has the scope {scope:?}, which is not among the surface's scopes");
            let is_known = self.scopes.iter().any(|known| known.url == *scope);
            self.require(is_known, "methods", problem)?;
        }
        for field in self.filter_fields.iter().flatten() {
            let problem = format!("has {field:?}; there are {}", filter::FIELDS.join(", "));
            self.require(filter::FIELDS.contains(&field.as_str()), "filter_fields", problem)?;
        }
        if let Some(name) = &self.metadata_type {
            let problem = "goes with metadata = \"details\" only";
            self.require(self.metadata == Metadata::Details, "metadata_type", problem)?;
            let is_type = name.strip_prefix("type.googleapis.com/").is_some_and(is_full_name);
            let problem = "must be like type.googleapis.com/example.v1.Metadata";
            self.require(is_type, "metadata_type", problem)?;
        }
        if let Some(url) = &self.root_url {
            let is_url = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
            let problem = "must begin with http:// or https:// and end with a slash";
            self.require(is_url && url.ends_with('/'), "root_url", problem)?;
        }
        Ok(())
    }

    fn require(
        &self,
        holds: bool,
        field: &'static str,
        problem: impl Into<String>,
    ) -> Result<(), SettingsError> {
        if holds { Ok(()) } else { Err(self.wrong(field, problem)) }
    }

    pub(super) fn wrong(&self, field: &'static str, problem: impl Into<String>) -> SettingsError {
        SettingsError::Surface { surface: self.name.clone(), field, problem: problem.into() }
    }
}

/// Identifiers between dots.
fn is_full_name(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}
