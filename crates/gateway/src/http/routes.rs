//! The table of routes, read from the `google.api.http` options in the descriptors.

use http::Method;
use longshore_proto::google::api::{HttpRule, http_rule::Pattern};
use prost_reflect::{DescriptorPool, ExtensionDescriptor, MethodDescriptor};

use super::{
    rpc::Rpc,
    template::{Match, Path, Template},
};

/// Why descriptors make no table.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The pool lacks the option.
    #[error("the descriptors have no google.api.http")]
    NoOption,
    /// The option has another form than `google.api.HttpRule`.
    #[error("the google.api.http of {0} can't be read")]
    Damaged(String),
    /// A rule has something that is not served: an unknown method, a custom verb, one field as the
    /// body.
    #[error("a google.api.http rule of {0} needs what is not served")]
    Unsupported(String),
    /// A path is none.
    #[error("{template} is no path template: {reason}")]
    Template {
        /// What stands there.
        template: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// One binding of a method.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) verb: Method,
    pub(crate) template: Template,
    /// Whether the body holds the request's fields.
    pub(crate) has_body: bool,
    pub(crate) method: MethodDescriptor,
    pub(crate) rpc: Rpc,
}

/// All routes, in order of preference.
#[derive(Clone, Debug)]
pub(crate) struct Routes(Vec<Route>);

/// Why a request has no route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// Nothing is served under the path.
    Path,
    /// Something is, but with these verbs.
    Verb(Vec<Method>),
}

impl Routes {
    /// Reads all rules of all services. Methods without one have no route.
    pub(crate) fn read(pool: &DescriptorPool) -> Result<Self, RuleError> {
        let option = pool.get_extension_by_name("google.api.http").ok_or(RuleError::NoOption)?;
        let mut routes = Vec::new();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            if let Some(mut rule) = rule(&method, &option)? {
                let more = std::mem::take(&mut rule.additional_bindings);
                for rule in std::iter::once(rule).chain(more) {
                    routes.push(Route::new(rule, method.clone())?);
                }
            }
        }
        Ok(Self(routes))
    }

    /// The routes of a method.
    pub(crate) fn of(&self, method: Rpc) -> impl Iterator<Item = &Route> {
        self.0.iter().filter(move |route| route.rpc == method)
    }

    /// The route of a request and what its path says.
    ///
    /// The first that fits counts, except that one which would leave an encoded slash in a name
    /// makes way for one that decodes it: `operations/{name}` is a whole name in one segment, as
    /// Node's client sends it.
    pub(crate) fn find<'a>(
        &'a self,
        verb: &Method,
        path: &str,
    ) -> Result<(&'a Route, Match<'a>), Miss> {
        let path = Path::parse(path).ok_or(Miss::Path)?;
        let mut second = None;
        let mut verbs = Vec::new();
        for route in &self.0 {
            let Some(found) = route.template.matches(&path) else { continue };
            if route.verb != *verb {
                if !verbs.contains(&route.verb) {
                    verbs.push(route.verb.clone());
                }
            } else if !found.keeps_slash {
                return Ok((route, found));
            } else if second.is_none() {
                second = Some((route, found));
            }
        }
        second.ok_or(if verbs.is_empty() { Miss::Path } else { Miss::Verb(verbs) })
    }
}

impl Route {
    fn new(rule: HttpRule, method: MethodDescriptor) -> Result<Self, RuleError> {
        let unsupported = || RuleError::Unsupported(method.full_name().to_owned());
        let rpc = Rpc::of(&method).ok_or_else(unsupported)?;
        let (verb, template) = match rule.pattern {
            Some(Pattern::Get(path)) => (Method::GET, path),
            Some(Pattern::Put(path)) => (Method::PUT, path),
            Some(Pattern::Post(path)) => (Method::POST, path),
            Some(Pattern::Delete(path)) => (Method::DELETE, path),
            Some(Pattern::Patch(path)) => (Method::PATCH, path),
            Some(Pattern::Custom(_)) | None => return Err(unsupported()),
        };
        let has_body = match &*rule.body {
            "" => false,
            "*" => true,
            _ => return Err(unsupported()),
        };
        if !rule.response_body.is_empty() {
            return Err(unsupported());
        }
        let template = Template::parse(&template)
            .map_err(|reason| RuleError::Template { template, reason })?;
        Ok(Self { verb, template, has_body, method, rpc })
    }
}

fn rule(
    method: &MethodDescriptor,
    option: &ExtensionDescriptor,
) -> Result<Option<HttpRule>, RuleError> {
    let options = method.options();
    if !options.has_extension(option) {
        return Ok(None);
    }
    let rule = options.get_extension(option);
    let rule = rule.as_message().and_then(|rule| rule.transcode_to().ok());
    rule.map(Some).ok_or_else(|| RuleError::Damaged(method.full_name().to_owned()))
}

#[cfg(test)]
mod tests {
    use longshore_core::json;

    use super::*;

    fn find(verb: &Method, path: &str) -> Result<String, Miss> {
        let routes = Routes::read(json::pool()).unwrap();
        let (route, found) = routes.find(verb, path)?;
        let values: Vec<_> =
            found.fields.iter().map(|(field, value)| format!("{field}={value}")).collect();
        Ok(format!("{} {}", route.method.name(), values.join(",")))
    }

    #[test]
    fn every_shape_has_its_route() {
        const FULL: &str = "operations%2Fabc";
        for (verb, path, expected) in [
            (Method::GET, "/v1/operations", "ListOperations name=operations"),
            (
                Method::GET,
                "/v1beta1/projects/p/locations/l/operations",
                "ListOperations name=projects/p/locations/l",
            ),
            (Method::GET, "/v1/operations/abc", "GetOperation name=operations/abc"),
            (Method::GET, "/v2/p/q/operations/abc", "GetOperation name=p/q/operations/abc"),
            (Method::GET, &format!("/v1/operations/{FULL}"), "GetOperation name=operations/abc"),
            (
                Method::GET,
                "/v1/operations/p%2Fq%2Foperations%2Fabc",
                "GetOperation name=p/q/operations/abc",
            ),
            (Method::GET, "/v1/a%2Fb/operations/abc", "GetOperation name=a%2Fb/operations/abc"),
            (Method::DELETE, "/ui/operations/abc", "DeleteOperation name=operations/abc"),
            (
                Method::DELETE,
                &format!("/v1/operations/{FULL}"),
                "DeleteOperation name=operations/abc",
            ),
            (Method::POST, "/v1/operations/abc:cancel", "CancelOperation name=operations/abc"),
            (Method::POST, "/v1/p/operations/abc:cancel", "CancelOperation name=p/operations/abc"),
            (
                Method::POST,
                &format!("/v1/operations/{FULL}:cancel"),
                "CancelOperation name=operations/abc",
            ),
            (Method::POST, "/v1/p/operations/abc:wait", "WaitOperation name=p/operations/abc"),
            (Method::GET, "/v1/p/operations/abc:wait", "WaitOperation name=p/operations/abc"),
            (Method::GET, "/v1/operations/abc:watch", "WatchOperation name=operations/abc"),
            (Method::POST, "/v1/jobs:run", "RunJob parent="),
            (Method::POST, "/v1/p/q/jobs:run", "RunJob parent=p/q"),
        ] {
            assert_eq!(find(&verb, path).as_deref(), Ok(expected), "{verb} {path}");
        }
    }

    #[test]
    fn tells_a_wrong_verb_from_a_wrong_path() {
        assert_eq!(
            find(&Method::PUT, "/v1/operations/abc"),
            Err(Miss::Verb(vec![Method::GET, Method::DELETE]))
        );
        assert_eq!(
            find(&Method::GET, "/v1/operations/abc:cancel"),
            Err(Miss::Verb(vec![Method::POST]))
        );
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v1/operations/",
            "/v1//operations",
            "/operations",
            "/v1/operations/abc:sing",
            "*",
        ] {
            assert_eq!(find(&Method::GET, path), Err(Miss::Path), "{path}");
        }
    }

    #[test]
    fn no_method_of_the_api_is_without_a_route() {
        let routes = Routes::read(json::pool()).unwrap();
        for service in json::pool().services() {
            for method in service.methods() {
                assert!(
                    routes.0.iter().any(|route| route.method == method),
                    "{}",
                    method.full_name()
                );
            }
        }
    }
}
