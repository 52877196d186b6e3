//! Messages as the schemas of their JSON.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comment;

/// The schemas of messages and of all that lies in them.
#[derive(Default)]
pub(crate) struct Schemas(BTreeMap<String, Map<String, Value>>);

impl Schemas {
    /// Adds a message and returns its schema's name. Of a request one field may be in the path.
    pub(crate) fn add(&mut self, message: &MessageDescriptor, in_path: Option<&str>) -> String {
        let name = name_of(message);
        let is_new = !self.0.contains_key(&name);
        if is_new {
            // Before its fields, which may lead back to it.
            self.0.insert(name.clone(), Map::new());
        }
        if is_new || in_path.is_none() {
            let fields: Vec<_> =
                message.fields().filter(|field| in_path != Some(field.name())).collect();
            let properties = fields
                .iter()
                .map(|field| (field.json_name().to_owned(), self.property(field)))
                .collect::<Map<_, _>>();
            let schema = json!({
                "id": name,
                "type": "object",
                "description": comment(&message.parent_file(), message.path()),
                "properties": properties,
            });
            if let Value::Object(schema) = schema {
                self.0.insert(name.clone(), schema);
            }
        }
        name
    }

    /// As discovery documents have them.
    pub(crate) fn into_discovery(self) -> Value {
        self.0
            .into_iter()
            .map(|(name, schema)| (name, Value::Object(schema)))
            .collect::<Map<_, _>>()
            .into()
    }

    fn property(&mut self, field: &FieldDescriptor) -> Value {
        let mut property = if field.is_map() {
            let value = match field.kind() {
                Kind::Message(entry) => self.value(&entry.map_entry_value_field().kind()),
                _ => json!({"type": "any"}),
            };
            json!({"type": "object", "additionalProperties": value})
        } else if field.is_list() {
            json!({"type": "array", "items": self.value(&field.kind())})
        } else {
            self.value(&field.kind())
        };
        property["description"] =
            comment(&field.parent_message().parent_file(), field.path()).into();
        property
    }

    fn value(&mut self, kind: &Kind) -> Value {
        match (type_of(kind), kind) {
            (Some(known), _) => known,
            (None, Kind::Message(message)) => json!({"$ref": self.add(message, None)}),
            (None, _) => json!({"type": "any"}),
        }
    }
}

/// `google.longrunning.Operation` is `GoogleLongrunningOperation`, as Google has it.
fn name_of(message: &MessageDescriptor) -> String {
    let capital = |part: &str| {
        let mut chars = part.chars();
        let first = chars.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    message.full_name().split('.').map(capital).collect()
}

/// The schema of what is no message of its own in JSON.
pub(crate) fn type_of(kind: &Kind) -> Option<Value> {
    Some(match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "format": "byte"}),
        Kind::Double => json!({"type": "number", "format": "double"}),
        Kind::Float => json!({"type": "number", "format": "float"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({"type": "integer", "format": "int32"})
        }
        Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "format": "uint32"}),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "format": "int64"}),
        Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64"}),
        Kind::Enum(values) => of_enum(values),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Duration" => json!({"type": "string", "format": "google-duration"}),
            "google.protobuf.Timestamp" => json!({"type": "string", "format": "google-datetime"}),
            "google.protobuf.FieldMask" => json!({"type": "string", "format": "google-fieldmask"}),
            "google.protobuf.Any" => json!({"type": "object", "additionalProperties": {
                "type": "any", "description": "Properties of the object. Contains field @type with type URL.",
            }}),
            "google.protobuf.Struct" => json!({"type": "object", "additionalProperties": {
                "type": "any", "description": "Properties of the object.",
            }}),
            "google.protobuf.Value" => json!({"type": "any"}),
            "google.protobuf.ListValue" => json!({"type": "array", "items": {"type": "any"}}),
            _ => return None,
        },
    })
}

fn of_enum(values: &EnumDescriptor) -> Value {
    let file = values.parent_file();
    let (names, descriptions): (Vec<_>, Vec<_>) = values
        .values()
        .map(|value| (value.name().to_owned(), comment(&file, value.path())))
        .unzip();
    json!({"type": "string", "enum": names, "enumDescriptions": descriptions})
}
