//! The parameters that every method has beside the fields of its request, as Google names them:
//! how the answer is to look. Those that mean nothing here are accepted and ignored.

use http::HeaderMap;

use crate::errors::{Reason, Refusal, echo};

/// How the client wants its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct System {
    /// With line breaks and indentation, which is Google's default.
    pub(crate) is_pretty: bool,
    /// Enums as numbers.
    pub(crate) has_numeric_enums: bool,
    /// With the `errors` of the first error format in addition.
    pub(crate) has_legacy_errors: bool,
    /// As server-sent events, whatever the method.
    pub(crate) is_event_stream: bool,
    /// The fields that the client wants; all if absent.
    pub(crate) mask: Option<String>,
}

impl Default for System {
    fn default() -> Self {
        Self {
            is_pretty: true,
            has_numeric_enums: false,
            has_legacy_errors: false,
            is_event_stream: false,
            mask: None,
        }
    }
}

impl System {
    /// Takes the system parameters out of the query and returns what is left: the request's fields.
    ///
    /// # Errors
    /// For the first that asks for what is not served; all others have been taken even so, so that
    /// the error looks as asked for.
    pub(crate) fn take(
        &mut self,
        headers: &HeaderMap,
        query: Vec<(String, String)>,
    ) -> Result<Vec<(String, String)>, Refusal> {
        let mask = headers.get("x-goog-fieldmask").and_then(|mask| mask.to_str().ok());
        self.mask = mask.filter(|mask| !mask.is_empty()).map(str::to_owned);
        let mut fields = Vec::new();
        let mut refusal = None;
        for (name, value) in query {
            match self.set(&name, &value) {
                Ok(true) => {}
                Ok(false) => fields.push((name, value)),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        refusal.map_or(Ok(fields), Err)
    }

    /// Whether it is a system parameter.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, Refusal> {
        match name.strip_prefix('$').unwrap_or(name) {
            ".xgafv" => self.has_legacy_errors = value == "1",
            "alt" if !value.is_empty() => self.set_form(value)?,
            "callback" if !value.is_empty() => {
                return Err(unsupported("callback", "JSONP is not served: use CORS"));
            }
            "fields" if !value.is_empty() => self.mask = Some(value.to_owned()),
            "prettyPrint" => {
                let is_no = ["false", "0", "no"].iter().any(|no| value.eq_ignore_ascii_case(no));
                self.is_pretty = !is_no;
            }
            "alt" | "callback" | "fields" => {}
            "key" | "access_token" | "oauth_token" | "quotaUser" | "userip" | "uploadType"
            | "upload_protocol" | "apiVersion" | "outputDefaults" | "ct" | "unique" | "trace"
            | "pp" | "strict" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_form(&mut self, value: &str) -> Result<(), Refusal> {
        let mut parts = value.split(';').map(str::trim);
        let form = parts.next().unwrap_or_default();
        match form {
            "json" => {}
            "sse" => self.is_event_stream = true,
            other => {
                let rule = format!(
                    "{} is not served: use json, or sse where a method streams",
                    echo(other)
                );
                return Err(unsupported("alt", rule));
            }
        }
        for option in parts {
            match option.split_once('=') {
                Some(("enum-encoding", "int")) => self.has_numeric_enums = true,
                Some(("enum-encoding", "string")) => {}
                _ => {
                    let rule = format!("{} is no option: use enum-encoding=int", echo(option));
                    return Err(unsupported("alt", rule));
                }
            }
        }
        Ok(())
    }
}

fn unsupported(name: &str, rule: impl Into<String>) -> Refusal {
    Refusal::field(Reason::UnsupportedParameter, name, rule).with("parameter", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(query: &str) -> (System, Result<Vec<(String, String)>, Refusal>) {
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let mut system = System::default();
        let fields = system.take(&HeaderMap::new(), pairs);
        (system, fields)
    }

    #[test]
    fn what_clients_send_is_taken() {
        let rust = "filter=&pageSize=0&%24alt=json%3Benum-encoding%3Dint";
        let (system, fields) = take(rust);
        assert!(system.has_numeric_enums && system.is_pretty);
        assert_eq!(fields.unwrap().len(), 2);

        let python = "alt=json&%24.xgafv=1&key=k&access_token=t&trace=x&pp=1&userip=u&strict=1&uploadType=media";
        let (system, fields) = take(python);
        assert!(system.has_legacy_errors);
        assert!(fields.unwrap().is_empty());

        let node = "$alt=json%3Benum-encoding=int&$prettyPrint=0";
        assert!(!take(node).0.is_pretty);
        assert_eq!(take("fields=name,done").0.mask.as_deref(), Some("name,done"));
        assert_eq!(take("alt&callback=&fields=&$prettyPrint").0, System::default());
    }

    #[test]
    fn what_is_not_served_is_refused_in_the_form_asked_for() {
        for query in ["alt=proto", "$alt=media", "alt=json;x=1", "callback=f", "$callback=f"] {
            let (system, fields) = take(&format!("{query}&prettyPrint=FALSE"));
            assert_eq!(fields.unwrap_err().reason, Reason::UnsupportedParameter, "{query}");
            assert!(!system.is_pretty);
        }
    }
}
