//! How a surface's methods look in HTTP: the general routes, narrowed to its names.

use prost_reflect::MethodDescriptor;
use serde_json::Value;

use super::{comment, type_of};
use crate::{
    http::{Route, Routes},
    surface::{Method, Pattern, Segment, Surface},
};

/// A method under one of a surface's patterns.
pub(crate) struct Binding<'a> {
    pub(crate) route: &'a Route,
    /// The collections that it belongs to, such as `projects`, `locations`, `operations`.
    pub(crate) collections: Vec<String>,
    /// The part of the path that is a field.
    pub(crate) variable: Option<Variable>,
    /// What stands behind it, or the whole path if it has none.
    pub(crate) rest: String,
    /// Whether the request is in the body, as far as it is not in the path.
    pub(crate) has_body: bool,
}

/// A part of a path that is a field of the request.
pub(crate) struct Variable {
    pub(crate) field: String,
    segments: Vec<Segment>,
}

/// All that a surface offers: each of its methods under each of its patterns.
pub(crate) fn bindings<'a>(
    surface: &'a Surface,
    routes: &'a Routes,
) -> impl Iterator<Item = Binding<'a>> {
    let methods = surface.methods.iter();
    methods.flat_map(move |(method, settings)| {
        surface.names.iter().filter_map(move |pattern| {
            let (route, variable, rest) = route(routes, *method, pattern)?;
            let mut collections: Vec<String> =
                pattern.parent().iter().filter_map(literal).collect();
            collections.push(match method {
                Method::Run => "jobs".to_owned(),
                Method::List
                | Method::Get
                | Method::Delete
                | Method::Cancel
                | Method::Wait
                | Method::Watch => "operations".to_owned(),
            });
            let has_body = route.has_body && settings.body;
            Some(Binding { route, collections, variable, rest, has_body })
        })
    })
}

fn literal(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Literal(text) => Some(text.clone()),
        Segment::One | Segment::Any => None,
    }
}

/// The route that has the whole pattern in its variable, and that variable.
fn route<'a>(
    routes: &'a Routes,
    method: Method,
    pattern: &Pattern,
) -> Option<(&'a Route, Option<Variable>, String)> {
    let parent = pattern.parent();
    // The parent of such names may be empty, and no path has an empty variable.
    let is_bare = matches!(parent, [] | [Segment::Any]);
    routes.of(method).find_map(|route| {
        let template = route.template.to_string();
        let path = template.strip_prefix("/v1/")?;
        let Some((variable, rest)) = path.strip_prefix('{').and_then(|path| path.split_once('}'))
        else {
            return (is_bare && !path.contains('{')).then(|| (route, None, path.to_owned()));
        };
        let (field, shape) = variable.split_once('=')?;
        let behind = match shape {
            "**/operations/*" => {
                vec![Segment::Literal("operations".to_owned()), Segment::One]
            }
            "operations" if pattern.is_open() || is_bare => {
                vec![Segment::Literal("operations".to_owned())]
            }
            "**" if !pattern.is_open() && !is_bare => Vec::new(),
            "**" if method == Method::Run && !is_bare => Vec::new(),
            _ => return None,
        };
        let segments = parent.iter().cloned().chain(behind).collect();
        Some((route, Some(Variable { field: field.to_owned(), segments }), rest.to_owned()))
    })
}

impl Binding<'_> {
    pub(crate) fn name(&self) -> &'static str {
        self.route.rpc.as_str()
    }

    /// `v1/{+name}:cancel`
    pub(crate) fn path(&self, version: &str) -> String {
        match &self.variable {
            Some(variable) => format!("{version}/{{+{}}}{}", variable.field, self.rest),
            None => format!("{version}/{}", self.rest),
        }
    }

    /// `v1/projects/{projectsId}/operations/{operationsId}:cancel`
    pub(crate) fn flat_path(&self, version: &str) -> String {
        match self.variable.as_ref().and_then(Variable::flat) {
            Some((flat, _)) => format!("{version}/{flat}{}", self.rest),
            None => self.path(version),
        }
    }

    /// The parameters in the query, by name.
    pub(crate) fn query(&self) -> Vec<(String, Value)> {
        if self.has_body {
            return Vec::new();
        }
        let input = self.route.method.input();
        let in_path = self.variable.as_ref().map(|variable| variable.field.as_str());
        let fields = input.fields().filter(|field| {
            // Without a variable the name has but one value.
            Some(field.name()) != in_path && !(in_path.is_none() && field.name() == "name")
        });
        let parameters = fields.filter_map(|field| {
            let mut parameter = type_of(&field.kind()).filter(|_| !field.is_list())?;
            parameter["description"] = comment(&input.parent_file(), field.path()).into();
            Some((field.json_name().to_owned(), parameter))
        });
        parameters.collect()
    }
}

impl Variable {
    /// What the proto says of the field.
    pub(crate) fn description(&self, method: &MethodDescriptor) -> String {
        let input = method.input();
        let field = input.get_field_by_name(&self.field);
        field.map(|field| comment(&input.parent_file(), field.path())).unwrap_or_default()
    }

    /// `^projects/[^/]+/operations/[^/]+$`
    pub(crate) fn regex(&self) -> String {
        let mut regex = String::from("^");
        for (at, segment) in self.segments.iter().enumerate() {
            let is_first = at == 0;
            let is_after_any = at == 1 && self.segments[0] == Segment::Any;
            // Where the first segment may be missing, so may the slash behind it.
            let slash = if is_first || is_after_any { "" } else { "/" };
            match segment {
                Segment::Literal(text) => regex.extend([slash, &text.replace('.', "\\.")]),
                Segment::One => regex.extend([slash, "[^/]+"]),
                Segment::Any if is_first && self.segments.len() > 1 => regex.push_str("(.+/)?"),
                Segment::Any if is_first => regex.push_str(".+"),
                Segment::Any => regex.push_str("(/.+)?"),
            }
        }
        regex.push('$');
        regex
    }

    /// `projects/{projectsId}/operations/{operationsId}` and its parameters; `None` if it may have
    /// any number of segments.
    pub(crate) fn flat(&self) -> Option<(String, Vec<String>)> {
        let mut parts = Vec::new();
        let mut parameters: Vec<String> = Vec::new();
        let mut before = "resource";
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => {
                    parts.push(text.clone());
                    before = text;
                }
                Segment::One => {
                    let name: String = before.chars().filter(char::is_ascii_alphanumeric).collect();
                    let mut parameter = format!("{name}Id");
                    while parameters.contains(&parameter) {
                        parameter.push('1');
                    }
                    parts.push(format!("{{{parameter}}}"));
                    parameters.push(parameter);
                }
                Segment::Any => return None,
            }
        }
        Some((parts.join("/"), parameters))
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::json;

    use super::*;
    use crate::surface::SurfaceSettings;

    fn shown(names: &[&str]) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let settings = crate::Settings {
            surfaces: vec![SurfaceSettings { names, ..SurfaceSettings::default() }],
            ..crate::Settings::default()
        };
        let surfaces = crate::surface::Surfaces::new(&settings).unwrap();
        let routes = Routes::read(json::pool()).unwrap();
        let surface = surfaces.of_host(&http::HeaderMap::new()).next().unwrap();
        let lines = bindings(surface, &routes).map(|binding| {
            let regex = binding.variable.as_ref().map(Variable::regex).unwrap_or_default();
            let collections = binding.collections.join(".");
            format!(
                "{collections}.{} {} {} {} {regex}",
                binding.name(),
                binding.route.verb,
                binding.path("v2"),
                binding.flat_path("v2"),
            )
        });
        lines.collect()
    }

    #[test]
    fn routes_are_narrowed_to_the_names_of_a_surface() {
        const FLAT: &str = "v2/projects/{projectsId}/operations";
        const NAME: &str = "^projects/[^/]+/operations/[^/]+$";
        assert_eq!(
            shown(&["projects/*/operations/*"]),
            [
                format!("projects.operations.list GET v2/{{+name}}/operations {FLAT} ^projects/[^/]+$"),
                format!("projects.operations.get GET v2/{{+name}} {FLAT}/{{operationsId}} {NAME}"),
                format!("projects.operations.delete DELETE v2/{{+name}} {FLAT}/{{operationsId}} {NAME}"),
                format!("projects.operations.cancel POST v2/{{+name}}:cancel {FLAT}/{{operationsId}}:cancel {NAME}"),
                format!("projects.operations.wait POST v2/{{+name}}:wait {FLAT}/{{operationsId}}:wait {NAME}"),
                "projects.jobs.run POST v2/{+parent}/jobs:run v2/projects/{projectsId}/jobs:run ^projects/[^/]+$".to_owned(),
                format!("projects.operations.watch GET v2/{{+name}}:watch {FLAT}/{{operationsId}}:watch {NAME}"),
            ]
        );
    }

    #[test]
    fn names_of_any_depth_have_their_routes() {
        assert_eq!(
            shown(&["**/operations/*"])[..2],
            [
                "operations.list GET v2/{+name} v2/{+name} ^(.+/)?operations$",
                "operations.get GET v2/{+name} v2/{+name} ^(.+/)?operations/[^/]+$",
            ]
        );
        assert_eq!(shown(&["**/operations/*"])[5], "jobs.run POST v2/jobs:run v2/jobs:run ");
        assert_eq!(
            shown(&["operations/*"])[..2],
            [
                "operations.list GET v2/{+name} v2/operations ^operations$",
                "operations.get GET v2/{+name} v2/operations/{operationsId} ^operations/[^/]+$",
            ]
        );
        assert_eq!(
            shown(&["a/**/operations/*"])[..2],
            [
                "a.operations.list GET v2/{+name} v2/{+name} ^a(/.+)?/operations$",
                "a.operations.get GET v2/{+name} v2/{+name} ^a(/.+)?/operations/[^/]+$",
            ]
        );
    }
}
