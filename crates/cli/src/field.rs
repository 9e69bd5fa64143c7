//! A field of a request as a flag: name, type, choices and help, all out of the JSON schema.

use keyark_api::EndpointInfo;
use keyark_api::openapi::inlined;
use serde_json::Value;

use crate::words::kebab;

/// How the text of a flag becomes JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Text,
    Integer,
    Number,
    Boolean,
    /// `name=value`, repeated, or a JSON object of strings.
    Map,
    /// JSON: an object or a list of objects.
    Json,
    /// JSON if it reads as such, else text.
    Any,
    /// Text that is the content of the file that the flag names.
    Content,
}

/// One field.
#[derive(Clone, Debug)]
pub struct Field {
    /// The name in the request.
    pub wire: String,
    /// The long flag without its hyphens.
    pub flag: String,
    pub shape: Shape,
    /// May be given several times.
    pub list: bool,
    pub required: bool,
    /// Its place in the path, if it stands there.
    pub in_path: Option<usize>,
    pub help: String,
    /// The only values allowed; empty: any.
    pub choices: Vec<String>,
}

/// The fields of a request: those of the path in its order, the required ones, then the others by name.
pub fn fields(endpoint: &EndpointInfo) -> Vec<Field> {
    let schema = inlined(endpoint.request);
    let path = EndpointInfo::path_parameters(endpoint.path);
    let required: Vec<&str> =
        schema["required"].as_array().map(|r| r.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    let mut fields: Vec<Field> = schema["properties"]
        .as_object()
        .map(|all| all.iter().map(|(wire, schema)| field(wire, schema)).collect())
        .unwrap_or_default();
    for field in &mut fields {
        field.in_path = path.iter().position(|name| *name == field.wire);
        field.required = field.in_path.is_some() || required.contains(&field.wire.as_str());
    }
    fields.sort_by_key(|f| (f.in_path.unwrap_or(usize::MAX), !f.required));
    fields
}

fn field(wire: &str, schema: &Value) -> Field {
    let (shape, list) = match shape_of(schema) {
        (Shape::Text, false) if wire == "file" => (Shape::Content, false),
        other => other,
    };
    let help = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    let item = if list && shape != Shape::Map { &core(schema)["items"] } else { schema };
    let choices = if shape == Shape::Text { choices_of(item) } else { Vec::new() };
    Field { wire: wire.into(), flag: kebab(wire), shape, list, required: false, in_path: None, help, choices }
}

/// The schema without the choice of being absent.
fn core(schema: &Value) -> &Value {
    for word in ["anyOf", "oneOf", "allOf"] {
        let mut real = schema[word].as_array().into_iter().flatten().filter(|s| s["type"] != "null");
        if let (Some(one), None) = (real.next(), real.next()) {
            return core(one);
        }
    }
    schema
}

fn shape_of(schema: &Value) -> (Shape, bool) {
    let schema = core(schema);
    if !choices_of(schema).is_empty() {
        return (Shape::Text, false);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        _ => Vec::new(),
    };
    match types.as_slice() {
        ["string"] => (Shape::Text, false),
        ["integer"] => (Shape::Integer, false),
        ["number"] => (Shape::Number, false),
        ["boolean"] => (Shape::Boolean, false),
        ["object"] if schema["additionalProperties"]["type"] == "string" => (Shape::Map, true),
        ["object"] => (Shape::Json, false),
        ["array"] => match shape_of(&schema["items"]) {
            (shape @ (Shape::Text | Shape::Integer | Shape::Number | Shape::Boolean), false) => (shape, true),
            _ => (Shape::Json, false),
        },
        _ => (Shape::Any, false),
    }
}

/// The values of an enumeration of strings.
fn choices_of(schema: &Value) -> Vec<String> {
    let schema = core(schema);
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }
    let variants: Vec<&Value> =
        schema["oneOf"].as_array().into_iter().flatten().filter(|s| s["type"] != "null").collect();
    // Variants without a description of their own stand together in one.
    let words = |s: &Value| -> Vec<String> {
        let together = s["enum"].as_array().into_iter().flatten();
        together.chain([&s["const"]]).filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let found: Vec<Vec<String>> = variants.iter().map(|s| words(s)).collect();
    if found.iter().any(Vec::is_empty) { Vec::new() } else { found.concat() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Shape, choices_of, shape_of};

    #[test]
    fn schemas_become_shapes() {
        for (schema, shape) in [
            (json!({ "type": "string" }), (Shape::Text, false)),
            (json!({ "type": ["integer", "null"], "format": "int64" }), (Shape::Integer, false)),
            (json!({ "anyOf": [{ "type": "boolean" }, { "type": "null" }] }), (Shape::Boolean, false)),
            (json!({ "type": "array", "items": { "type": "string" } }), (Shape::Text, true)),
            (json!({ "type": "array", "items": { "type": "object" } }), (Shape::Json, false)),
            (json!({ "type": "object", "additionalProperties": { "type": "string" } }), (Shape::Map, true)),
            (json!({ "type": "object", "additionalProperties": true }), (Shape::Json, false)),
            (json!(true), (Shape::Any, false)),
            (json!({ "type": ["string", "integer"] }), (Shape::Any, false)),
            (json!({ "enum": ["system", "domain", null] }), (Shape::Text, false)),
        ] {
            assert_eq!(shape_of(&schema), shape, "{schema}");
        }
    }

    #[test]
    fn both_spellings_of_an_enumeration_are_read() {
        assert_eq!(choices_of(&json!({ "enum": ["a", "b", null] })), ["a", "b"]);
        let described = json!({ "oneOf": [{ "enum": ["a", "b"] }, { "type": "string", "const": "c" }] });
        assert_eq!(choices_of(&described), ["a", "b", "c"]);
        assert!(choices_of(&json!({ "type": "string" })).is_empty());
    }
}
