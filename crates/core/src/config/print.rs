//! Settings as TOML that can be shown to anybody: without secrets, with the origin of each.

use serde::Serialize;
use toml::{Table, Value};

use super::{Merged, find, is_secret, origin_of, redact};

/// Which settings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those that a file, a variable or a flag sets.
    Set,
    /// All of them.
    Effective,
}

impl Merged {
    /// The settings that were read, as TOML with a comment after each that is not the default.
    /// Secrets, and users and passwords in URLs, are `***`.
    ///
    /// # Errors
    /// If the settings have no form in TOML.
    pub fn print(
        &self,
        settings: &impl Serialize,
        extent: Extent,
    ) -> Result<String, toml::ser::Error> {
        let mut text = String::new();
        self.section(&Table::try_from(settings)?, extent, &mut Vec::new(), &mut text);
        Ok(text)
    }

    fn section(&self, table: &Table, extent: Extent, path: &mut Vec<String>, text: &mut String) {
        let mut lines = String::new();
        let mut sections = Vec::new();
        for (key, value) in table {
            if let Value::Table(inner) = value {
                sections.push((key, inner));
                continue;
            }
            path.push(key.clone());
            let origin = find(&self.root, path).and_then(origin_of);
            if origin.is_some() || extent == Extent::Effective {
                lines += &format!("{} = {}", quoted(key), hidden(key, value.clone()));
                lines += &origin.map(|origin| format!("  # {origin}")).unwrap_or_default();
                lines.push('\n');
            }
            path.pop();
        }
        if !lines.is_empty() {
            if !path.is_empty() {
                let gap = if text.is_empty() { "" } else { "\n" };
                let name: Vec<String> = path.iter().map(|key| quoted(key)).collect();
                *text += &format!("{gap}[{}]\n", name.join("."));
            }
            *text += &lines;
        }
        for (key, inner) in sections {
            path.push(key.clone());
            self.section(inner, extent, path, text);
            path.pop();
        }
    }
}

fn hidden(key: &str, value: Value) -> Value {
    match value {
        Value::String(_) | Value::Integer(_) if is_secret(key) => Value::String("***".to_owned()),
        Value::String(text) if text.contains("://") => Value::String(redact(&text)),
        Value::Array(values) => {
            Value::Array(values.into_iter().map(|value| hidden(key, value)).collect())
        }
        Value::Table(table) => Value::Table(
            table
                .into_iter()
                .map(|(key, value)| {
                    let value = hidden(&key, value);
                    (key, value)
                })
                .collect(),
        ),
        value => value,
    }
}

fn quoted(key: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !key.is_empty() && key.bytes().all(is_bare) {
        key.to_owned()
    } else {
        Value::String(key.to_owned()).to_string()
    }
}
