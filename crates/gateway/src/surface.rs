//! Surfaces: how operations appear under one API. Under which names, versions and hosts, with which
//! methods, bounds and metadata.

mod metadata;
mod pattern;
mod settings;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, header, uri::Authority};
use longshore_core::names::Parent;
use tonic::Request;

pub(crate) use self::pattern::{Pattern, Segment};
pub use self::settings::{Metadata, Method, MethodSettings, Scope, SurfaceSettings};
use crate::{
    errors::{Reason, Refusal},
    settings::{Settings, SettingsError},
};

/// One API's view of operations.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Surface {
    pub(crate) name: String,
    pub(crate) title: String,
    /// All, if there are none.
    pub(crate) versions: Vec<String>,
    hosts: Vec<String>,
    pub(crate) names: Vec<Pattern>,
    pub(crate) methods: BTreeMap<Method, MethodSettings>,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) root_url: Option<String>,
    pub(crate) max_wait: Duration,
    pub(crate) default_page_size: u32,
    pub(crate) max_page_size: u32,
    pub(crate) filter_fields: Option<BTreeSet<String>>,
    metadata: Metadata,
    metadata_type: Option<String>,
}

/// All surfaces, in order of preference.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Surfaces(Vec<Arc<Surface>>);

/// The version in a call's path: HTTP's only, gRPC has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version(pub(crate) String);

impl Surfaces {
    /// Reads the settings; without surfaces among them there is one, plain and open to all names.
    ///
    /// # Errors
    /// For the first that can't be served.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let plain = [SurfaceSettings::default()];
        let all = if settings.surfaces.is_empty() { &plain[..] } else { &settings.surfaces };
        let mut surfaces: Vec<Arc<Surface>> = Vec::with_capacity(all.len());
        for one in all {
            if surfaces.iter().any(|surface| surface.name == one.name) {
                return Err(one.wrong("name", "must be another for each surface"));
            }
            surfaces.push(Arc::new(one.surface(settings)?));
        }
        Ok(Self(surfaces))
    }

    /// Those that are served under a host.
    pub(crate) fn of_host(&self, headers: &HeaderMap) -> impl Iterator<Item = &Arc<Surface>> {
        let host = host(headers);
        self.0.iter().filter(move |surface| surface.has_host(host.as_deref()))
    }

    /// The surface that a call means: the first that has its host, version, names and method.
    ///
    /// # Errors
    /// [`Reason::SurfaceNotFound`] if there is none for the host, the version and the parent, and
    /// [`Reason::MethodNotOffered`] if those lack the method.
    pub(crate) fn of_call<T>(
        &self,
        request: &Request<T>,
        method: Method,
        parent: &Parent,
    ) -> Result<Arc<Surface>, Refusal> {
        let tells_hosts_apart = self.0.iter().any(|surface| !surface.hosts.is_empty());
        let host = tells_hosts_apart.then(|| host(request.metadata().as_ref())).flatten();
        let version = request.extensions().get::<Version>().map(|version| version.0.as_str());
        let alias = parent.alias();
        let has_name = |surface: &Surface| {
            let matches = |parent| surface.names.iter().any(|pattern| pattern.matches(parent));
            matches(parent) || alias.as_ref().is_some_and(matches)
        };
        let mut found = self.0.iter().filter(|surface| {
            surface.has_host(host.as_deref())
                && version.is_none_or(|version| surface.has_version(version))
                && has_name(surface)
        });
        let first = found.clone().next();
        let offering = found.find(|surface| surface.methods.contains_key(&method));
        match (offering, first) {
            (Some(surface), _) => Ok(Arc::clone(surface)),
            (None, Some(surface)) => {
                let message = format!("{} does not offer {}", surface.name, method.as_str());
                Err(Refusal::new(Reason::MethodNotOffered, message)
                    .with("service", &surface.name)
                    .with("method", method.as_str()))
            }
            (None, None) => {
                let message = "no API has operations of this name under this host and version";
                Err(Refusal::new(Reason::SurfaceNotFound, message)
                    .with("parent", parent.as_str())
                    .with("version", version.unwrap_or_default()))
            }
        }
    }
}

impl Surface {
    pub(crate) fn has_version(&self, version: &str) -> bool {
        self.versions.is_empty() || self.versions.iter().any(|known| known == version)
    }

    fn has_host(&self, host: Option<&str>) -> bool {
        self.hosts.is_empty()
            || host.is_some_and(|host| self.hosts.iter().any(|known| known == host))
    }

    /// What a caller must be permitted to do to call the method.
    pub(crate) fn permission(&self, method: Method) -> Option<&str> {
        self.methods.get(&method)?.permission.as_deref()
    }

    /// The OAuth scopes of which a caller needs one; none if the API has none.
    pub(crate) fn scopes_of(&self, method: Method) -> Vec<&str> {
        match self.methods.get(&method).and_then(|method| method.scopes.as_ref()) {
            Some(scopes) => scopes.iter().map(String::as_str).collect(),
            None => self.scopes.iter().map(|scope| scope.url.as_str()).collect(),
        }
    }
}

/// The host that a client called, without its port.
fn host(headers: &HeaderMap) -> Option<String> {
    let authority: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    Some(authority.host().to_ascii_lowercase())
}

/// Notes the host where HTTP/1 has it: HTTP/2 has it in the address.
pub(crate) fn note_host<B>(request: &mut http::Request<B>) {
    let Some(authority) = request.uri().authority() else { return };
    if let Ok(host) = authority.as_str().parse() {
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
}
